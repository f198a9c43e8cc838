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

add_library(orrery_torch INTERFACE)
add_library(orrery::torch ALIAS orrery_torch)
target_include_directories(orrery_torch SYSTEM INTERFACE
  ${ORRERY_TORCH_DIR}/include ${ORRERY_TORCH_DIR}/include/torch/csrc/api/include)
target_link_libraries(orrery_torch INTERFACE
  ${ORRERY_TORCH_DIR}/lib/libtorch_cpu.so ${ORRERY_TORCH_DIR}/lib/libc10.so)
set(CMAKE_BUILD_RPATH ${ORRERY_TORCH_RPATH})
foreach(dir IN LISTS ORRERY_TORCH_RPATH)
  target_link_options(orrery_torch INTERFACE -Wl,-rpath-link,${dir})
endforeach()
# The unused half of the wheel refers to CUDA libraries that a CPU machine lacks.
target_link_options(orrery_torch INTERFACE -Wl,--allow-shlib-undefined)

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

find_path(ORRERY_CEREAL_INCLUDE cereal/cereal.hpp REQUIRED)
find_path(ORRERY_XXHASH_INCLUDE xxhash.h REQUIRED)
# Tokenizers: regular expressions with Unicode properties, and normal forms.
find_path(ORRERY_PCRE2_INCLUDE pcre2.h REQUIRED)
find_library(ORRERY_PCRE2_LIBRARY pcre2-8 REQUIRED)
find_path(ORRERY_UTF8PROC_INCLUDE utf8proc.h REQUIRED)
find_library(ORRERY_UTF8PROC_LIBRARY utf8proc REQUIRED)

if(ORRERY_CUDA)
  find_package(CUDAToolkit REQUIRED)
  find_path(ORRERY_NCCL_INCLUDE nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS} REQUIRED)
  find_library(ORRERY_NCCL_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR} REQUIRED)
  add_library(orrery_nccl INTERFACE)
  add_library(orrery::nccl ALIAS orrery_nccl)
  target_include_directories(orrery_nccl SYSTEM INTERFACE ${ORRERY_NCCL_INCLUDE}
                                                          ${CUDAToolkit_INCLUDE_DIRS})
  # libtorch_cuda.so is not linked: it registers the CUDA operators when it is loaded, which
  # the NCCL backend does where a GPU is used. So the program starts without the wheel's CUDA
  # dependencies, of which libc10_cuda.so needs the runtime only (decision 0751).
  target_link_libraries(orrery_nccl INTERFACE
    ${ORRERY_NCCL_LIBRARY} CUDA::cudart ${ORRERY_TORCH_DIR}/lib/libc10_cuda.so)
  target_compile_definitions(orrery_nccl INTERFACE ORRERY_WITH_CUDA=1)
  # The libraries of toolkit and NCCL where the program was built; a cluster's own come first.
  get_filename_component(orrery_nccl_dir ${ORRERY_NCCL_LIBRARY} DIRECTORY)
  list(APPEND CMAKE_BUILD_RPATH ${CUDAToolkit_LIBRARY_DIR} ${orrery_nccl_dir})
endif()
