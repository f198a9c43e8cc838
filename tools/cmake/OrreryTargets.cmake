# One library per folder, one GoogleTest executable per folder, and tests under mpirun.

# The precompiled header of all sources that see tensors, compiled once.
function(orrery_make_aten_pch)
  if(NOT TARGET orrery_aten_pch)
    file(WRITE ${CMAKE_BINARY_DIR}/aten_pch.cpp "// carries the precompiled header\n")
    add_library(orrery_aten_pch OBJECT ${CMAKE_BINARY_DIR}/aten_pch.cpp)
    target_link_libraries(orrery_aten_pch PRIVATE orrery::torch orrery_warnings)
    target_precompile_headers(orrery_aten_pch PRIVATE <ATen/ATen.h>)
    # Made anew by each build folder: a broken one from the cache would break every build after it.
    # Its bytes differ from time to time, so its users are found in the cache by what went into it.
    set_target_properties(orrery_aten_pch PROPERTIES CXX_COMPILER_LAUNCHER "")
    file(MD5 ${ORRERY_TORCH_DIR}/lib/libc10.so torch)
    file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/orrery_aten_pch.dir/cmake_pch.hxx.gch.sum
         "LibTorch ${torch}, ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}\n")
  endif()
endfunction()

# Include roots: one for each folder, in which a link leads to its headers. So a target sees the
# headers of the folders that it links and no others. The build folders below build/ share them,
# which keeps paths in compiled files the same, and with them what ccache finds.
cmake_path(GET CMAKE_BINARY_DIR PARENT_PATH orrery_roots)
if(NOT orrery_roots STREQUAL ${CMAKE_SOURCE_DIR}/build)
  set(orrery_roots ${CMAKE_BINARY_DIR})
endif()
string(APPEND orrery_roots /roots)

function(orrery_include_root folder out)
  set(headers ${CMAKE_SOURCE_DIR}/include/orrery/${folder})
  set(root ${orrery_roots}/${folder})
  set(link ${root}/orrery/${folder})
  set(leads_to "")
  if(IS_SYMLINK ${link})
    file(READ_SYMLINK ${link} leads_to)
  endif()
  if(NOT leads_to STREQUAL headers)
    file(MAKE_DIRECTORY ${root}/orrery)
    file(CREATE_LINK ${headers} ${link} SYMBOLIC)
  endif()
  set(${out} ${root} PARENT_SCOPE)
endfunction()

# A header that no library lists would be neither verified nor installed.
function(orrery_check_headers_are_listed)
  get_property(listed GLOBAL PROPERTY ORRERY_HEADERS)
  foreach(folder IN LISTS ARGN)
    file(GLOB headers CONFIGURE_DEPENDS ${orrery_roots}/${folder}/orrery/${folder}/*.h)
    list(REMOVE_ITEM headers ${listed})
    if(headers)
      message(FATAL_ERROR "no library of src/${folder}/CMakeLists.txt lists ${headers} in its HEADERS")
    endif()
  endforeach()
endfunction()

# Sets `out` to the sources, each missing one replaced by a file that says so when it is compiled:
# it fails the build of its own target, not the configuration of all.
function(orrery_present_sources out)
  set(sources "")
  foreach(source IN LISTS ARGN)
    set(path ${CMAKE_CURRENT_SOURCE_DIR}/${source})
    if(NOT IS_ABSOLUTE ${source} AND NOT EXISTS ${path})
      file(RELATIVE_PATH name ${CMAKE_SOURCE_DIR} ${path})
      set(source ${CMAKE_BINARY_DIR}/missing/${name})
      file(CONFIGURE OUTPUT ${source}
           CONTENT "#error \"${name} is listed in its CMakeLists.txt but does not exist\"\n")
    endif()
    list(APPEND sources ${source})
  endforeach()
  set(${out} ${sources} PARENT_SCOPE)
endfunction()

# Library orrery_<name> is installed, for others as orrery::<name>.
function(orrery_export name)
  set_target_properties(orrery_${name} PROPERTIES EXPORT_NAME ${name})
  target_compile_features(orrery_${name} INTERFACE cxx_std_20)
  set_property(GLOBAL APPEND PROPERTY ORRERY_LIBRARIES orrery_${name})
endfunction()

# orrery_add_library(name [FOLDER f] [HEADERS a.h ...] SOURCES a.cpp ... [CUDA_SOURCES b.cu ...]
#                    [CPU_SOURCES c.cpp ...] [PUBLIC libs] [PRIVATE libs] [ATEN])
#   library orrery::name of folder src/name with headers in include/orrery/name. It sees the headers
#   of the folders that it links, and of its own.
#   FOLDER, HEADERS: where a folder is several libraries, which one this is a part of, and its headers;
#   else all of the folder's
#   ATEN: its sources see tensors (LibTorch and the precompiled header)
#   CUDA_SOURCES: only with ORRERY_CUDA, which then also links the CUDA runtime
#   CPU_SOURCES: only without, in their place
function(orrery_add_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "ATEN" "FOLDER"
                        "HEADERS;SOURCES;CUDA_SOURCES;CPU_SOURCES;PUBLIC;PRIVATE")
  if(ORRERY_CUDA)
    set(arg_CPU_SOURCES "")
  else()
    set(arg_CUDA_SOURCES "")
  endif()
  orrery_present_sources(sources ${arg_SOURCES} ${arg_CUDA_SOURCES} ${arg_CPU_SOURCES})
  add_library(orrery_${name} STATIC ${sources})
  add_library(orrery::${name} ALIAS orrery_${name})
  orrery_export(${name})
  if(NOT arg_FOLDER)
    set(arg_FOLDER ${name})
  endif()
  orrery_include_root(${arg_FOLDER} root)
  if(arg_HEADERS)
    list(TRANSFORM arg_HEADERS PREPEND ${root}/orrery/${arg_FOLDER}/)
  else()
    file(GLOB arg_HEADERS CONFIGURE_DEPENDS ${root}/orrery/${arg_FOLDER}/*.h)
  endif()
  target_sources(orrery_${name} PUBLIC FILE_SET HEADERS BASE_DIRS ${root} FILES ${arg_HEADERS})
  # `ninja all_verify_interface_header_sets` compiles each header on its own.
  set_target_properties(orrery_${name} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
  set_property(GLOBAL APPEND PROPERTY ORRERY_HEADERS ${arg_HEADERS})
  target_include_directories(orrery_${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(orrery_${name} PUBLIC ${arg_PUBLIC} PRIVATE ${arg_PRIVATE}
                                       $<BUILD_INTERFACE:orrery_warnings>)
  if(arg_CUDA_SOURCES)
    # Linked only: C++ sources are compiled the same with CUDA and without, and found in ccache.
    target_link_libraries(orrery_${name} INTERFACE $<LINK_ONLY:CUDA::cudart>)
  endif()
  if(arg_ATEN)
    orrery_make_aten_pch()
    target_link_libraries(orrery_${name} PUBLIC orrery::torch)
    target_precompile_headers(orrery_${name} REUSE_FROM orrery_aten_pch)
  endif()
endfunction()

# orrery_add_tests(folder SOURCES a_test.cpp ... LIBRARIES libs [ATEN] [TIMEOUT seconds] [PROCESSORS n]
#                  [LABELS labels] [GOLDEN files] [PROPERTY files] [PARITY files] [TOKENIZER files]
#                  [GPU files] [FAULT files] [LEARNING files])
#   executable test_<folder>; one ctest per source file, `folder.a` for a_test.cpp. Files listed
#   under a label get that ctest label.
#   Other sources, and x_for_test.cpp, hold what the tests share.
#
# ctest asks the executable for its cases, as gtest_discover_tests does, but runs those of a file in one
# process: with a process for each case, as that function has it, LibTorch would be loaded 1115 times
# instead of 120, which takes 0.3 s of a core each time.
function(orrery_add_tests folder)
  set(labels GOLDEN PROPERTY PARITY TOKENIZER GPU FAULT LEARNING)
  cmake_parse_arguments(PARSE_ARGV 1 arg "ATEN" "TIMEOUT;PROCESSORS"
                        "SOURCES;LIBRARIES;LABELS;${labels}")
  orrery_present_sources(sources ${arg_SOURCES})
  add_executable(test_${folder} ${sources})
  target_link_libraries(test_${folder} PRIVATE ${arg_LIBRARIES} orrery_warnings GTest::gtest_main)
  target_include_directories(test_${folder} PRIVATE ${CMAKE_SOURCE_DIR}/tests
                                                    ${CMAKE_SOURCE_DIR}/src/${folder})
  target_compile_definitions(test_${folder} PRIVATE ORRERY_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  if(arg_ATEN)
    orrery_make_aten_pch()
    target_link_libraries(test_${folder} PRIVATE orrery::torch)
    # An executable's own -fPIE would not match the precompiled header, which is made with -fPIC.
    set_target_properties(test_${folder} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(test_${folder} PRIVATE -fPIC)
    target_precompile_headers(test_${folder} REUSE_FROM orrery_aten_pch)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  if(ORRERY_SANITIZE AND arg_TIMEOUT LESS 900)
    set(arg_TIMEOUT 900)  # on a machine that does other things as well
  endif()
  if(NOT arg_PROCESSORS)
    set(arg_PROCESSORS 1)
  endif()
  list(FILTER arg_SOURCES INCLUDE REGEX "_test\\.cpp$")
  list(FILTER arg_SOURCES EXCLUDE REGEX "_for_test\\.cpp$")
  set(files ${arg_SOURCES})
  list(TRANSFORM files REPLACE "\\.cpp$" "")
  set(include_file ${CMAKE_CURRENT_BINARY_DIR}/test_${folder}_of_ctest.cmake)
  set(settings "set(ORRERY_TEST_FOLDER ${folder})
set(ORRERY_TEST_SETTINGS \"${include_file}\")
set(ORRERY_TEST_EXECUTABLE \"$<TARGET_FILE:test_${folder}>\")
set(ORRERY_TEST_COMMAND $<TARGET_PROPERTY:test_${folder},CROSSCOMPILING_EMULATOR> \"$<TARGET_FILE:test_${folder}>\")
set(ORRERY_TEST_FILES ${files})
set(ORRERY_TEST_PROPERTIES TIMEOUT ${arg_TIMEOUT} PROCESSORS ${arg_PROCESSORS})
set(ORRERY_TEST_LABELS ${folder} ${arg_LABELS})
")
  foreach(file IN LISTS files)
    set(of_file "")
    foreach(label IN LISTS labels)
      if(${file}.cpp IN_LIST arg_${label})
        string(TOLOWER ${label} lower)
        list(APPEND of_file ${lower})
      endif()
    endforeach()
    string(APPEND settings "set(ORRERY_TEST_LABELS_${file} ${of_file})\n")
  endforeach()
  file(GENERATE OUTPUT ${include_file}
       CONTENT "${settings}include(\"${CMAKE_SOURCE_DIR}/tools/cmake/DiscoverTests.cmake\")\n")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${include_file})
endfunction()

# add_mpi_test(NAME n RANKS k [k...] TARGET t [ARGUMENTS a...] [TIMEOUT s] [LABELS l...])
#   ctest `n@k`: target t under mpirun with k ranks. A rank's failure fails the test and is named;
#   no rank is left behind (tools/mpi_test.sh).
function(add_mpi_test)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME;TARGET;TIMEOUT" "RANKS;ARGUMENTS;LABELS")
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
  endif()
  foreach(ranks IN LISTS arg_RANKS)
    add_test(NAME ${arg_NAME}@${ranks}
             COMMAND ${CMAKE_SOURCE_DIR}/tools/mpi_test.sh ${ranks} ${arg_TIMEOUT}
                     $<TARGET_FILE:${arg_TARGET}> ${arg_ARGUMENTS})
    math(EXPR limit "${arg_TIMEOUT} + 20")
    set_tests_properties(${arg_NAME}@${ranks} PROPERTIES PROCESSORS ${ranks} TIMEOUT ${limit}
                         LABELS "mpi;${arg_LABELS}")
  endforeach()
endfunction()

# orrery_add_bench(folder SOURCES a_bench.cpp ... LIBRARIES libs [ATEN])
#   executable bench_<folder> on Google Benchmark, in a build with ORRERY_BENCH; tools/bench.sh
#   builds and runs all of them.
function(orrery_add_bench folder)
  cmake_parse_arguments(PARSE_ARGV 1 arg "ATEN" "" "SOURCES;LIBRARIES")
  orrery_present_sources(sources ${arg_SOURCES})
  add_executable(bench_${folder} ${sources})
  target_link_libraries(bench_${folder} PRIVATE ${arg_LIBRARIES} orrery_warnings
                                                benchmark::benchmark_main)
  if(arg_ATEN)
    orrery_make_aten_pch()
    target_link_libraries(bench_${folder} PRIVATE orrery::torch)
    # As for the tests: the precompiled header is made with -fPIC.
    set_target_properties(bench_${folder} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(bench_${folder} PRIVATE -fPIC)
    target_precompile_headers(bench_${folder} REUSE_FROM orrery_aten_pch)
  endif()
endfunction()
