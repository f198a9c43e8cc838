# Imported targets. LibTorch's own package insists on nvcc and injects flags, so its libraries are
# named here; clusters point ORRERY_TORCH_DIR to their own.

set(ORRERY_TORCH_DIR ${CMAKE_SOURCE_DIR}/build/deps/torch/torch
    CACHE PATH "LibTorch: the folder with include and lib")
if(NOT EXISTS ${ORRERY_TORCH_DIR}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "LibTorch not found in ${ORRERY_TORCH_DIR}: run tools/setup.sh, "
                      "or pass -DORRERY_TORCH_DIR=<folder with include and lib>")
endif()
# Libraries that libtorch_cpu.so needs and that PyPI packages separately.
file(GLOB orrery_nvidia_lib_dirs ${ORRERY_TORCH_DIR}/../nvidia/*/lib)
set(ORRERY_TORCH_RPATH ${ORRERY_TORCH_DIR}/lib ${orrery_nvidia_lib_dirs})

add_library(orrery::torch INTERFACE IMPORTED GLOBAL)
target_include_directories(orrery::torch INTERFACE
  ${ORRERY_TORCH_DIR}/include ${ORRERY_TORCH_DIR}/include/torch/csrc/api/include)
target_link_libraries(orrery::torch INTERFACE
  ${ORRERY_TORCH_DIR}/lib/libtorch_cpu.so ${ORRERY_TORCH_DIR}/lib/libc10.so)
set(CMAKE_BUILD_RPATH ${ORRERY_TORCH_RPATH})
foreach(dir IN LISTS ORRERY_TORCH_RPATH)
  target_link_options(orrery::torch INTERFACE -Wl,-rpath-link,${dir})
endforeach()
# The unused half of the wheel refers to CUDA libraries that a CPU machine lacks.
target_link_options(orrery::torch INTERFACE -Wl,--allow-shlib-undefined)

find_package(MPI REQUIRED COMPONENTS C)
target_compile_definitions(MPI::MPI_C INTERFACE OMPI_SKIP_MPICXX)
find_package(Boost REQUIRED COMPONENTS program_options)
find_package(nlohmann_json REQUIRED)
find_package(Protobuf REQUIRED)
find_package(Threads REQUIRED)
find_package(spdlog REQUIRED)
set(HDF5_PREFER_PARALLEL OFF)  # one file per shard, written by one rank
find_package(HDF5 REQUIRED COMPONENTS C)
find_package(ZLIB REQUIRED)  # a part of HDF5's compression

# orrery_find_library(name HEADER h [LIBRARY l]): what comes without a package for CMake, as orrery::name
function(orrery_find_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "HEADER;LIBRARY" "")
  string(TOUPPER ${name} upper)
  find_path(ORRERY_${upper}_INCLUDE ${arg_HEADER} REQUIRED)
  add_library(orrery::${name} INTERFACE IMPORTED GLOBAL)
  target_include_directories(orrery::${name} INTERFACE ${ORRERY_${upper}_INCLUDE})
  if(arg_LIBRARY)
    find_library(ORRERY_${upper}_LIBRARY ${arg_LIBRARY} REQUIRED)
    target_link_libraries(orrery::${name} INTERFACE ${ORRERY_${upper}_LIBRARY})
  endif()
endfunction()
orrery_find_library(cereal HEADER cereal/cereal.hpp)
orrery_find_library(xxhash HEADER xxhash.h)
# Tokenizers: regular expressions with Unicode properties, and normal forms.
orrery_find_library(pcre2 HEADER pcre2.h LIBRARY pcre2-8)
orrery_find_library(utf8proc HEADER utf8proc.h LIBRARY utf8proc)

if(ORRERY_CUDA)
  find_package(CUDAToolkit REQUIRED)
  find_path(ORRERY_NCCL_INCLUDE nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS} REQUIRED)
  find_library(ORRERY_NCCL_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR} REQUIRED)
  add_library(orrery::nccl INTERFACE IMPORTED GLOBAL)
  target_include_directories(orrery::nccl INTERFACE ${ORRERY_NCCL_INCLUDE}
                                                    ${CUDAToolkit_INCLUDE_DIRS})
  # libtorch_cuda.so is not linked: it registers the CUDA operators when it is loaded, which
  # the NCCL backend does where a GPU is used. So the program starts without the wheel's CUDA
  # dependencies, of which libc10_cuda.so needs the runtime only (decision 0751).
  target_link_libraries(orrery::nccl INTERFACE
    ${ORRERY_NCCL_LIBRARY} CUDA::cudart ${ORRERY_TORCH_DIR}/lib/libc10_cuda.so)
  target_compile_definitions(orrery::nccl INTERFACE ORRERY_WITH_CUDA=1)
  # The libraries of toolkit and NCCL where the program was built; a cluster's own come first.
  get_filename_component(orrery_nccl_dir ${ORRERY_NCCL_LIBRARY} DIRECTORY)
  list(APPEND CMAKE_BUILD_RPATH ${CUDAToolkit_LIBRARY_DIR} ${orrery_nccl_dir})
endif()
