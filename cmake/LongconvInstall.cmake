# Installs the C++ library, its headers and a package file, so that another project writes
#   find_package(longconv 0.1 REQUIRED)
#   target_link_libraries(program PRIVATE longconv::longconv)
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/longconv)
install(TARGETS longconv EXPORT longconvTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT cpp)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/longconv DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT cpp)
install(EXPORT longconvTargets NAMESPACE longconv:: DESTINATION ${package_dir} COMPONENT cpp)

file(WRITE ${PROJECT_BINARY_DIR}/longconvConfig.cmake
  "include(CMakeFindDependencyMacro)\nfind_dependency(Threads)\n"
  "include(\${CMAKE_CURRENT_LIST_DIR}/longconvTargets.cmake)\n")
write_basic_package_version_file(${PROJECT_BINARY_DIR}/longconvConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/longconvConfig.cmake ${PROJECT_BINARY_DIR}/longconvConfigVersion.cmake
  DESTINATION ${package_dir} COMPONENT cpp)
