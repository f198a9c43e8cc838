# Imported targets of what Orrery stands on, for its own build and for projects that find_package(Orrery).
# What is not there is collected in orrery_missing, each with where it comes from.
set(orrery_missing "")

# find_package, with the Debian package that has it
macro(orrery_find_package name debian)
  find_package(${name} QUIET ${ARGN})
  if(NOT ${name}_FOUND)
    list(APPEND orrery_missing "${name} (apt-get install ${debian})")
  endif()
endmacro()

# orrery_find_library(name debian HEADER h [LIBRARY l]): what has no package for CMake, as orrery::name
macro(orrery_find_library name debian)
  cmake_parse_arguments(orrery_find "" "HEADER;LIBRARY" "" ${ARGN})
  string(TOUPPER ${name} orrery_find_upper)
  find_path(ORRERY_${orrery_find_upper}_INCLUDE ${orrery_find_HEADER})
  set(orrery_find_paths ${ORRERY_${orrery_find_upper}_INCLUDE})
  if(orrery_find_LIBRARY)
    find_library(ORRERY_${orrery_find_upper}_LIBRARY ${orrery_find_LIBRARY})
    list(APPEND orrery_find_paths ${ORRERY_${orrery_find_upper}_LIBRARY})
  endif()
  if(orrery_find_paths MATCHES "NOTFOUND")
    list(APPEND orrery_missing "${name} (apt-get install ${debian})")
  elseif(NOT TARGET orrery::${name})
    add_library(orrery::${name} INTERFACE IMPORTED)
    target_include_directories(orrery::${name} INTERFACE ${ORRERY_${orrery_find_upper}_INCLUDE})
    if(orrery_find_LIBRARY)
      target_link_libraries(orrery::${name} INTERFACE ${ORRERY_${orrery_find_upper}_LIBRARY})
    endif()
  endif()
endmacro()

# LibTorch's own package insists on nvcc and injects flags, so its libraries are named here; clusters
# point ORRERY_TORCH_DIR to their own.
set(ORRERY_TORCH_DIR ${CMAKE_SOURCE_DIR}/build/deps/torch/torch
    CACHE PATH "LibTorch: the folder with include and lib")
# Libraries that libtorch_cpu.so needs and that PyPI packages separately.
file(GLOB orrery_nvidia_lib_dirs ${ORRERY_TORCH_DIR}/../nvidia/*/lib)
set(ORRERY_TORCH_RPATH ${ORRERY_TORCH_DIR}/lib ${orrery_nvidia_lib_dirs})
list(APPEND CMAKE_BUILD_RPATH ${ORRERY_TORCH_RPATH})
if(NOT EXISTS ${ORRERY_TORCH_DIR}/lib/libtorch_cpu.so)
  list(APPEND orrery_missing "LibTorch, which is not in ${ORRERY_TORCH_DIR} (run tools/setup.sh, or pass \
-DORRERY_TORCH_DIR=<folder with include and lib>)")
elseif(NOT TARGET orrery::torch)
  add_library(orrery::torch INTERFACE IMPORTED)
  target_include_directories(orrery::torch INTERFACE
    ${ORRERY_TORCH_DIR}/include ${ORRERY_TORCH_DIR}/include/torch/csrc/api/include)
  target_link_libraries(orrery::torch INTERFACE
    ${ORRERY_TORCH_DIR}/lib/libtorch_cpu.so ${ORRERY_TORCH_DIR}/lib/libc10.so)
  foreach(dir IN LISTS ORRERY_TORCH_RPATH)
    target_link_options(orrery::torch INTERFACE -Wl,-rpath-link,${dir})
  endforeach()
  # The unused half of the wheel refers to CUDA libraries that a CPU machine lacks.
  target_link_options(orrery::torch INTERFACE -Wl,--allow-shlib-undefined)
endif()

set(HDF5_PREFER_PARALLEL OFF)  # one file per shard, written by one rank
get_property(orrery_languages GLOBAL PROPERTY ENABLED_LANGUAGES)
if("C" IN_LIST orrery_languages)
  orrery_find_package(MPI "libopenmpi-dev openmpi-bin" COMPONENTS C)
  orrery_find_package(HDF5 libhdf5-dev COMPONENTS C)
else()
  list(APPEND orrery_missing "the language C, with which MPI and HDF5 are looked for (project(... LANGUAGES C CXX))")
endif()
if(TARGET MPI::MPI_C)
  target_compile_definitions(MPI::MPI_C INTERFACE OMPI_SKIP_MPICXX)
endif()
orrery_find_package(Boost "libboost-program-options-dev libboost-dev" COMPONENTS program_options)
orrery_find_package(nlohmann_json nlohmann-json3-dev)
orrery_find_package(Protobuf "libprotobuf-dev protobuf-compiler")
orrery_find_package(Threads libc6-dev)
orrery_find_package(spdlog libspdlog-dev)
orrery_find_package(ZLIB zlib1g-dev)  # a part of HDF5's compression
orrery_find_library(cereal libcereal-dev HEADER cereal/cereal.hpp)
orrery_find_library(xxhash libxxhash-dev HEADER xxhash.h)
# Tokenizers: regular expressions with Unicode properties, and normal forms.
orrery_find_library(pcre2 libpcre2-dev HEADER pcre2.h LIBRARY pcre2-8)
orrery_find_library(utf8proc libutf8proc-dev HEADER utf8proc.h LIBRARY utf8proc)

if(ORRERY_CUDA)
  orrery_find_package(CUDAToolkit "cuda-toolkit, of NVIDIA's packages")
  find_path(ORRERY_NCCL_INCLUDE nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_library(ORRERY_NCCL_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR})
  if(NOT ORRERY_NCCL_INCLUDE OR NOT ORRERY_NCCL_LIBRARY)
    list(APPEND orrery_missing "NCCL (apt-get install libnccl-dev, of NVIDIA's packages)")
  elseif(NOT TARGET orrery::nccl)
    add_library(orrery::nccl INTERFACE IMPORTED)
    target_include_directories(orrery::nccl INTERFACE ${ORRERY_NCCL_INCLUDE}
                                                      ${CUDAToolkit_INCLUDE_DIRS})
    # libtorch_cuda.so is not linked: it registers the CUDA operators when it is loaded, which
    # the NCCL backend does where a GPU is used. So the program starts without the wheel's CUDA
    # dependencies, of which libc10_cuda.so needs the runtime only (decision 0751).
    target_link_libraries(orrery::nccl INTERFACE
      ${ORRERY_NCCL_LIBRARY} CUDA::cudart ${ORRERY_TORCH_DIR}/lib/libc10_cuda.so)
    target_compile_definitions(orrery::nccl INTERFACE ORRERY_WITH_CUDA=1)
  endif()
  # The libraries of toolkit and NCCL where the program was built; a cluster's own come first.
  get_filename_component(orrery_nccl_dir "${ORRERY_NCCL_LIBRARY}" DIRECTORY)
  list(APPEND CMAKE_BUILD_RPATH ${CUDAToolkit_LIBRARY_DIR} ${orrery_nccl_dir})
endif()

list(JOIN orrery_missing "\n  " orrery_missing)
