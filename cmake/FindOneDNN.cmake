# Finds oneDNN 3 and defines the imported target DNNL::dnnl.
#
# Order: a dnnl_DIR or CMAKE_PREFIX_PATH given by the builder, then the PyPI packages
# onednn-devel-cpu-gomp and onednn-cpu-gomp (pip's isolated build puts them into the build
# environment's own prefix, where CMake does not look), then the system.
#
# OneDNN_LIBRARY_DIR is the folder of libdnnl when it came from the packages: that copy is shipped.

set(OneDNN_LIBRARY_DIR "")
if(Python_EXECUTABLE)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -c "
import importlib.metadata as m, pathlib
files = m.distribution('onednn-cpu-gomp').files
print(next(pathlib.Path(f.locate()).resolve().parent for f in files if f.name.startswith('libdnnl.so')))
"
    OUTPUT_VARIABLE _onednn_lib RESULT_VARIABLE _onednn_missing
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT _onednn_missing)
    find_package(dnnl 3 CONFIG QUIET HINTS "${_onednn_lib}/cmake/dnnl")
    if(dnnl_FOUND)
      set(OneDNN_LIBRARY_DIR "${_onednn_lib}")
    endif()
  endif()
endif()
if(NOT dnnl_FOUND)
  find_package(dnnl 3 CONFIG QUIET)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(OneDNN REQUIRED_VARS dnnl_DIR VERSION_VAR dnnl_VERSION)
