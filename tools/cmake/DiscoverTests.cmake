# What ctest includes of a GoogleTest executable (orrery_add_tests): one ctest per source file,
# `folder.x` for x_test.cpp, out of the executable's own list. It is asked again when it was built anew.
#   ORRERY_TEST_FOLDER      the folder
#   ORRERY_TEST_COMMAND     the executable, perhaps behind an emulator
#   ORRERY_TEST_EXECUTABLE  its file
#   ORRERY_TEST_FILES       the sources x_test whose ctests there must be
#   ORRERY_TEST_LABELS, ORRERY_TEST_LABELS_<x_test>, ORRERY_TEST_PROPERTIES

# Sets `sources`, and for each one `cases_<source>`.
macro(orrery_list_cases)
  set(listing ${ORRERY_TEST_EXECUTABLE}_list.json)
  execute_process(COMMAND ${ORRERY_TEST_COMMAND} --gtest_list_tests --gtest_output=json:${listing}
                  RESULT_VARIABLE result OUTPUT_VARIABLE said ERROR_VARIABLE said)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${ORRERY_TEST_EXECUTABLE} does not list its tests: ${result}\n${said}")
  endif()
  file(READ ${listing} json)
  string(JSON suites GET "${json}" testsuites)
  string(JSON n_suites LENGTH "${suites}")
  math(EXPR last_suite "${n_suites} - 1")
  foreach(i RANGE ${last_suite})
    string(JSON suite GET "${suites}" ${i})
    string(JSON suite_name GET "${suite}" name)
    string(JSON n_cases LENGTH "${suite}" testsuite)
    math(EXPR last_case "${n_cases} - 1")
    foreach(k RANGE ${last_case})
      string(JSON case GET "${suite}" testsuite ${k} name)
      string(JSON path GET "${suite}" testsuite ${k} file)
      get_filename_component(source ${path} NAME_WE)
      list(APPEND sources ${source})
      list(APPEND cases_${source} ${suite_name}.${case})
    endforeach()
  endforeach()
  list(REMOVE_DUPLICATES sources)
endmacro()

function(orrery_write_tests tests_file)
  set(sources "")
  orrery_list_cases()
  list(JOIN ORRERY_TEST_COMMAND "\" \"" command)
  set(text "")
  foreach(source IN LISTS sources)
    string(REGEX REPLACE "_test$" "" test ${ORRERY_TEST_FOLDER}.${source})
    list(JOIN cases_${source} ":" filter)
    set(labels ${ORRERY_TEST_LABELS} ${ORRERY_TEST_LABELS_${source}})
    string(APPEND text "add_test(${test} \"${command}\" \"--gtest_filter=${filter}\")\n"
      "set_tests_properties(${test} PROPERTIES ${ORRERY_TEST_PROPERTIES} LABELS \"${labels}\")\n")
  endforeach()
  # A program that is not found: a failure with this name.
  list(REMOVE_ITEM ORRERY_TEST_FILES ${sources})
  foreach(source IN LISTS ORRERY_TEST_FILES)
    string(REGEX REPLACE "_test$" "" test ${ORRERY_TEST_FOLDER}.${source})
    string(APPEND text "add_test(${test} NO_TEST_IN_${source})\n")
  endforeach()
  file(WRITE ${tests_file} "${text}")
endfunction()

set(orrery_tests ${ORRERY_TEST_EXECUTABLE}_tests.cmake)
if(NOT EXISTS ${ORRERY_TEST_EXECUTABLE})
  add_test(${ORRERY_TEST_FOLDER}.not_built ${ORRERY_TEST_EXECUTABLE})  # not found, so a failure
else()
  if(${ORRERY_TEST_EXECUTABLE} IS_NEWER_THAN ${orrery_tests}
     OR ${ORRERY_TEST_SETTINGS} IS_NEWER_THAN ${orrery_tests}
     OR ${CMAKE_CURRENT_LIST_FILE} IS_NEWER_THAN ${orrery_tests})
    orrery_write_tests(${orrery_tests})
  endif()
  include(${orrery_tests})
endif()
