# Finds the headers that the cuda provider is compiled with, and defines CuDNNHeaders::all.
#
# Four sets: CUDA (cuda.h, cuda_runtime_api.h and cuda_fp16.h with nv/target), NVRTC (nvrtc.h),
# cuDNN 9 (cudnn.h) and cudnn-frontend (cudnn_frontend_Operation.h). Each is looked for in what the
# builder gives (CUDNN_FRONTEND_PATH, CUDNN_PATH, CUDA_PATH, CUDA_HOME, CMAKE_PREFIX_PATH), then in
# the PyPI packages that carry them, then in the toolkit's usual places. No library and no compiler
# of CUDA's is needed.

set(_cudnn_site_folders "")
if(Python_EXECUTABLE)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -c "
import os, sys
print(';'.join(p for p in sys.path if p and os.path.isdir(p)))
"
    OUTPUT_VARIABLE _cudnn_site_folders OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
set(_cudnn_hints $ENV{CUDNN_FRONTEND_PATH} $ENV{CUDNN_PATH} $ENV{CUDA_PATH} $ENV{CUDA_HOME})
foreach(_folder IN LISTS _cudnn_site_folders)
  # The frontend's wheel puts its headers into the environment's own include folder.
  list(APPEND _cudnn_hints
    "${_folder}" "${_folder}/nvidia/cudnn" "${_folder}/nvidia/cu13" "${_folder}/nvidia/cuda_runtime"
    "${_folder}/nvidia/cuda_nvrtc" "${_folder}/nvidia/cuda_cccl" "${_folder}/../../..")
endforeach()

foreach(_set IN ITEMS CUDA:cuda_runtime_api.h CCCL:nv/target NVRTC:nvrtc.h CUDNN:cudnn_graph.h
                      FRONTEND:cudnn_frontend_Operation.h)
  string(REPLACE ":" ";" _set "${_set}")
  list(GET _set 0 _name)
  list(GET _set 1 _header)
  find_path(CuDNNHeaders_${_name} ${_header}
    HINTS ${_cudnn_hints} PATHS /usr/local/cuda PATH_SUFFIXES include include/cccl)
  list(APPEND _cudnn_required CuDNNHeaders_${_name})
  list(APPEND _cudnn_folders "${CuDNNHeaders_${_name}}")
endforeach()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(CuDNNHeaders REQUIRED_VARS ${_cudnn_required})
if(CuDNNHeaders_FOUND AND NOT TARGET CuDNNHeaders::all)
  list(REMOVE_DUPLICATES _cudnn_folders)
  add_library(CuDNNHeaders::all INTERFACE IMPORTED)
  # SYSTEM, so that warnings in them are not ours.
  target_include_directories(CuDNNHeaders::all SYSTEM INTERFACE ${_cudnn_folders})
endif()
unset(_cudnn_required)
unset(_cudnn_folders)
