# Finds the PyTorch of a given Python without PyTorch's own CMake package: TorchConfig.cmake demands a CUDA toolkit
# whenever PyTorch was built with CUDA, and this extension needs none.
#
#   Python_EXECUTABLE    the Python to ask (default: python3 on PATH)
# defines
#   PyTorch_VERSION      e.g. 2.13.0 or 1.13.0
#   PyTorch::cpu         headers, the C++ ABI flag and the libraries c10 and torch_cpu (no libpython, no CUDA)
if(NOT Python_EXECUTABLE)
  find_program(Python_EXECUTABLE NAMES python3 python REQUIRED)
endif()

# Importing torch takes seconds: ask once per Python and per installed version.
file(TIMESTAMP "${PyTorch_ROOT_DIR}/version.py" pytorch_timestamp)
if(NOT "${PyTorch_KEY}" STREQUAL "${Python_EXECUTABLE} ${pytorch_timestamp}" OR NOT pytorch_timestamp)
  execute_process(
    COMMAND ${Python_EXECUTABLE} -c
      "import os, torch; print(';'.join([os.path.dirname(torch.__file__), torch.__version__, str(int(torch._C._GLIBCXX_USE_CXX11_ABI))]))"
    OUTPUT_VARIABLE pytorch_facts ERROR_VARIABLE pytorch_error RESULT_VARIABLE pytorch_status OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(pytorch_status EQUAL 0)
    list(GET pytorch_facts 0 pytorch_root)
    list(GET pytorch_facts 1 pytorch_version)
    list(GET pytorch_facts 2 pytorch_cxx11_abi)
    string(REGEX MATCH "^[0-9]+\\.[0-9]+(\\.[0-9]+)?" pytorch_version "${pytorch_version}")
    file(TIMESTAMP "${pytorch_root}/version.py" pytorch_timestamp)
    set(PyTorch_KEY "${Python_EXECUTABLE} ${pytorch_timestamp}" CACHE INTERNAL "what the values below belong to")
    set(PyTorch_ROOT_DIR "${pytorch_root}" CACHE INTERNAL "folder of the torch package")
    set(PyTorch_VERSION "${pytorch_version}" CACHE INTERNAL "version of PyTorch")
    set(PyTorch_CXX11_ABI "${pytorch_cxx11_abi}" CACHE INTERNAL "value of _GLIBCXX_USE_CXX11_ABI")
    unset(PyTorch_C10_LIBRARY CACHE)
    unset(PyTorch_CPU_LIBRARY CACHE)
    unset(PyTorch_INCLUDE_DIR CACHE)
  else()
    set(pytorch_hint "${Python_EXECUTABLE} cannot import torch. Install PyTorch first; with pip, build with \
--no-build-isolation so that the build sees it.\n${pytorch_error}")
  endif()
endif()

# A wheel keeps headers and libraries inside the package; Debian keeps them in the system's folders.
find_path(PyTorch_INCLUDE_DIR torch/library.h HINTS ${PyTorch_ROOT_DIR}/include)
find_library(PyTorch_C10_LIBRARY c10 HINTS ${PyTorch_ROOT_DIR}/lib)
find_library(PyTorch_CPU_LIBRARY torch_cpu HINTS ${PyTorch_ROOT_DIR}/lib)
mark_as_advanced(PyTorch_INCLUDE_DIR PyTorch_C10_LIBRARY PyTorch_CPU_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(PyTorch
  REQUIRED_VARS PyTorch_CPU_LIBRARY PyTorch_C10_LIBRARY PyTorch_INCLUDE_DIR PyTorch_VERSION
  VERSION_VAR PyTorch_VERSION
  REASON_FAILURE_MESSAGE "${pytorch_hint}")

if(PyTorch_FOUND AND NOT TARGET PyTorch::cpu)
  add_library(PyTorch::cpu INTERFACE IMPORTED)
  target_include_directories(PyTorch::cpu SYSTEM INTERFACE
    ${PyTorch_INCLUDE_DIR} ${PyTorch_INCLUDE_DIR}/torch/csrc/api/include)
  target_compile_definitions(PyTorch::cpu INTERFACE _GLIBCXX_USE_CXX11_ABI=${PyTorch_CXX11_ABI})
  target_link_libraries(PyTorch::cpu INTERFACE ${PyTorch_CPU_LIBRARY} ${PyTorch_C10_LIBRARY})
endif()
