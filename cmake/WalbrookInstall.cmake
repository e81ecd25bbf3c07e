# What others link, and how it is installed:
#
#   walbrook::walbrook   the library with the memory and blackhole destinations
#   walbrook::ducklake   the DuckLake destination, with DuckDB
#   walbrook::testing    the conformance suites for destinations and stores (WALBROOK_TESTING)
#
# Installed layout, which may be moved as a whole:
#   bin/walbrook    lib/lib*.a    lib/cmake/Walbrook/    lib/pkgconfig/
#   lib/walbrook/   libduckdb.so and its extensions
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(WALBROOK_INSTALL_PRIVATE lib/walbrook)

# walbrook_archive(NAME FOLDERS... LIBS...): one static library from the objects of
# folders, so that users need not know the folders.
function(walbrook_archive name)
    cmake_parse_arguments(arg "" "" "FOLDERS;LIBS" ${ARGN})
    set(target walbrook_${name}_archive)
    set(objects "")
    foreach(folder ${arg_FOLDERS})
        if(TARGET walbrook_${folder})
            list(APPEND objects $<TARGET_OBJECTS:walbrook_${folder}>)
        endif()
    endforeach()
    add_library(${target} STATIC ${objects})
    set(file walbrook_${name})
    if(name STREQUAL "walbrook")
        set(file walbrook)
    endif()
    # A place of its own: a folder's library may have the same name.
    set_target_properties(${target} PROPERTIES EXPORT_NAME ${name} OUTPUT_NAME ${file}
        ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib LINKER_LANGUAGE CXX)
    target_compile_features(${target} PUBLIC cxx_std_20)
    target_include_directories(${target} PUBLIC
        $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
        $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
    target_link_libraries(${target} PUBLIC ${arg_LIBS})
    add_library(walbrook::${name} ALIAS ${target})
    install(TARGETS ${target} EXPORT WalbrookTargets COMPONENT ${name})
endfunction()

walbrook_archive(walbrook
    FOLDERS base telemetry postgres decode batch source stores blackhole memory pipeline
    LIBS Threads::Threads fmt::fmt OpenSSL::Crypto PkgConfig::libpq PkgConfig::sqlite3 PkgConfig::zstd)
set(WALBROOK_COMPONENTS walbrook)
if(WALBROOK_WITH_DUCKLAKE)
    walbrook_archive(ducklake FOLDERS duckdb_engine ducklake
        LIBS walbrook_walbrook_archive walbrook_duckdb)
    list(APPEND WALBROOK_COMPONENTS ducklake)
    install(FILES ${duckdb_library} DESTINATION ${WALBROOK_INSTALL_PRIVATE})
    if(WALBROOK_DUCKDB_EXTENSIONS)
        install(DIRECTORY ${WALBROOK_DUCKDB_EXTENSIONS}/
            DESTINATION ${WALBROOK_INSTALL_PRIVATE}/extensions FILES_MATCHING PATTERN "*.duckdb_extension")
    endif()
endif()
if(TARGET walbrook_testing)
    walbrook_archive(testing FOLDERS testing LIBS walbrook_walbrook_archive GTest::gtest)
    list(APPEND WALBROOK_COMPONENTS testing)
endif()

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/walbrook DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    FILES_MATCHING PATTERN "*.h")
if(TARGET walbrook)
    set_target_properties(walbrook PROPERTIES INSTALL_RPATH "$ORIGIN/../${WALBROOK_INSTALL_PRIVATE}")
    install(TARGETS walbrook DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

# --- CMake package ----------------------------------------------------------
set(walbrook_package ${CMAKE_INSTALL_LIBDIR}/cmake/Walbrook)
install(EXPORT WalbrookTargets NAMESPACE walbrook:: DESTINATION ${walbrook_package})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/WalbrookConfig.cmake.in
    ${PROJECT_BINARY_DIR}/WalbrookConfig.cmake
    INSTALL_DESTINATION ${walbrook_package} PATH_VARS WALBROOK_INSTALL_PRIVATE)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/WalbrookConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/WalbrookConfig.cmake
    ${PROJECT_BINARY_DIR}/WalbrookConfigVersion.cmake DESTINATION ${walbrook_package})

# --- pkg-config -------------------------------------------------------------
# The prefix is found from the file's own place, so that the tree can be moved.
file(RELATIVE_PATH walbrook_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" walbrook_prefix "${walbrook_prefix}")
configure_file(${PROJECT_SOURCE_DIR}/cmake/walbrook.pc.in ${PROJECT_BINARY_DIR}/walbrook.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/walbrook.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(WALBROOK_WITH_DUCKLAKE)
    configure_file(${PROJECT_SOURCE_DIR}/cmake/walbrook-ducklake.pc.in
        ${PROJECT_BINARY_DIR}/walbrook-ducklake.pc @ONLY)
    install(FILES ${PROJECT_BINARY_DIR}/walbrook-ducklake.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()
