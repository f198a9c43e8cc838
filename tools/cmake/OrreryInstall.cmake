# cmake --install: the program, its libraries for find_package(Orrery), configurations and the tools of a
# user. docs/building.md says what lies where.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(orrery_package ${CMAKE_INSTALL_LIBDIR}/cmake/Orrery)
set(orrery_share ${CMAKE_INSTALL_DATADIR}/orrery)

get_property(orrery_libraries GLOBAL PROPERTY ORRERY_LIBRARIES)
install(TARGETS ${orrery_libraries} EXPORT OrreryLibraries FILE_SET HEADERS)
install(EXPORT OrreryLibraries NAMESPACE orrery:: DESTINATION ${orrery_package})

# LibTorch stays where it is (ORRERY_TORCH_DIR); so do libraries in places that no loader searches.
set_target_properties(orrery PROPERTIES INSTALL_RPATH "${CMAKE_BUILD_RPATH}"
                                        INSTALL_RPATH_USE_LINK_PATH ON)
install(TARGETS orrery)

configure_package_config_file(${CMAKE_SOURCE_DIR}/tools/cmake/OrreryConfig.cmake.in
                              ${CMAKE_BINARY_DIR}/OrreryConfig.cmake
                              INSTALL_DESTINATION ${orrery_package}
                              PATH_VARS orrery_share NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/OrreryConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/OrreryConfig.cmake ${CMAKE_BINARY_DIR}/OrreryConfigVersion.cmake
              tools/cmake/OrreryDependencies.cmake
        DESTINATION ${orrery_package})

# Side by side as here, because configurations name files of both.
install(DIRECTORY configs slurm DESTINATION ${orrery_share})
install(DIRECTORY tools/prepare tools/rewards DESTINATION ${orrery_share}/tools
        FILES_MATCHING PATTERN "*.py")
install(PROGRAMS tools/prepare_data.py tools/tokenize.py tools/make_addition.py
                 tools/make_word_problems.py tools/sweep.py tools/track.py tools/compare_runs.py
        DESTINATION ${orrery_share}/tools)
