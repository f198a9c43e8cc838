# Compiler launcher, linker, warnings, sanitizers. What is not installed is left out.

find_program(ORRERY_CCACHE ccache)
if(ORRERY_CCACHE)
  # The sloppiness and the sum let ccache handle precompiled headers (orrery_make_aten_pch).
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${ORRERY_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 CCACHE_PCH_EXTSUM=1  # another clone finds the same objects
      ${ORRERY_CCACHE})
  add_compile_options($<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fpch-preprocess>)
endif()

find_program(ORRERY_MOLD mold)
if(ORRERY_MOLD AND NOT CMAKE_CROSSCOMPILING)
  add_link_options(-fuse-ld=mold)
endif()

# Warnings are errors where the code is worked on. A release build on somebody's cluster must not
# fail for what another compiler thinks of it (GCC 12 at -O3 finds faults in its own strings).
option(ORRERY_WARNINGS_AS_ERRORS "stop at warnings" ON)
add_library(orrery_warnings INTERFACE)
target_compile_options(orrery_warnings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow=local;-Wnon-virtual-dtor>)
if(ORRERY_WARNINGS_AS_ERRORS)
  target_compile_options(orrery_warnings INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Werror>
    "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Werror all-warnings -Xcompiler -Wall>")
else()
  target_compile_options(orrery_warnings INTERFACE -w)
endif()

if(ORRERY_SANITIZE)
  add_compile_options(-fsanitize=${ORRERY_SANITIZE} -fno-omit-frame-pointer
                      -fno-sanitize-recover=undefined)
  add_link_options(-fsanitize=${ORRERY_SANITIZE})
endif()
