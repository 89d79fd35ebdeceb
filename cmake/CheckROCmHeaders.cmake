# Compiles a file of static_asserts: that our declarations equal those of the ROCm that is installed.
# HIP's headers must be there; MIOpen's are compared too where they are found.
find_package(Python 3.10 REQUIRED COMPONENTS Interpreter)
set(roots "$ENV{ROCM_PATH}" /opt/rocm)
find_path(HIP_INCLUDE_DIR hip/hip_runtime_api.h HINTS ${roots} PATH_SUFFIXES include REQUIRED)
find_path(MIOPEN_INCLUDE_DIR miopen/miopen.h HINTS ${roots} PATH_SUFFIXES include)

set(libraries hip)
if(MIOPEN_INCLUDE_DIR)
  list(APPEND libraries miopen)
endif()
message(STATUS "Comparing include/mioconv/abi with ${libraries}: ${HIP_INCLUDE_DIR}")

set(writer "${PROJECT_SOURCE_DIR}/tests/helpers/rocm_headers.py")
set(check "${CMAKE_CURRENT_BINARY_DIR}/rocm_headers.cpp")
file(GLOB contracts CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/include/mioconv/abi/*")
add_custom_command(
  OUTPUT "${check}"
  COMMAND "${Python_EXECUTABLE}" "${writer}" ${libraries} > "${check}"
  DEPENDS "${writer}" "${PROJECT_SOURCE_DIR}/tests/helpers/c_declarations.py" ${contracts}
  VERBATIM)
add_library(mioconv_rocm_headers OBJECT "${check}")
target_include_directories(mioconv_rocm_headers PRIVATE "${PROJECT_SOURCE_DIR}/include")
target_include_directories(mioconv_rocm_headers SYSTEM PRIVATE
  "${HIP_INCLUDE_DIR}" "$<$<BOOL:${MIOPEN_INCLUDE_DIR}>:${MIOPEN_INCLUDE_DIR}>")
target_compile_definitions(mioconv_rocm_headers PRIVATE __HIP_PLATFORM_AMD__)
