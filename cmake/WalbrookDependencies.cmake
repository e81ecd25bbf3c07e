# Everything from outside, as imported targets. Debian's parts come by find_package
# or pkg-config; DuckDB comes from .deps/ (scripts/deps fills it) or the system.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED)
pkg_check_modules(libpq REQUIRED IMPORTED_TARGET libpq)
pkg_check_modules(sqlite3 REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd)
if(WALBROOK_PROGRAM OR WALBROOK_DEVELOPER)
    find_package(CLI11 REQUIRED)
    find_package(yaml-cpp REQUIRED)
    find_package(spdlog REQUIRED)
    pkg_check_modules(httplib REQUIRED IMPORTED_TARGET cpp-httplib)
    pkg_check_modules(jemalloc IMPORTED_TARGET jemalloc)
endif()

set(WALBROOK_DEPS_DIR ${CMAKE_CURRENT_SOURCE_DIR}/.deps)

if(WALBROOK_WITH_DUCKLAKE)
    add_library(walbrook_duckdb SHARED IMPORTED GLOBAL)
    if(WALBROOK_DEPS STREQUAL "pinned")
        set(duckdb_library ${WALBROOK_DEPS_DIR}/duckdb/lib/libduckdb.so)
        set(duckdb_include ${WALBROOK_DEPS_DIR}/duckdb/include)
        set(WALBROOK_DUCKDB_EXTENSIONS ${WALBROOK_DEPS_DIR}/duckdb/extensions)
        if(NOT EXISTS ${duckdb_library})
            message(FATAL_ERROR "DuckDB is missing: run scripts/deps, or set WALBROOK_WITH_DUCKLAKE=OFF")
        endif()
    else()
        find_library(duckdb_library duckdb REQUIRED)
        find_path(duckdb_include duckdb.h REQUIRED)
        set(WALBROOK_DUCKDB_EXTENSIONS "" CACHE PATH "Folder of the signed DuckDB extensions")
    endif()
    set_target_properties(walbrook_duckdb PROPERTIES
        IMPORTED_LOCATION ${duckdb_library}
        IMPORTED_NO_SONAME ON
        INTERFACE_INCLUDE_DIRECTORIES ${duckdb_include})
endif()

if(WALBROOK_DEVELOPER OR WALBROOK_TESTING)
    find_package(GTest REQUIRED)
endif()
