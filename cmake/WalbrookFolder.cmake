# walbrook_release_tests(TARGETS...)
#
# What `make test` builds of the release build, too: of the rest, the build with sanitizers is enough.
add_custom_target(release_tests)
function(walbrook_release_tests)
    add_dependencies(release_tests ${ARGN})
endfunction()

# walbrook_long_test(NAME PROGRAM SHARDS LABELS)
#
# Adds NAME.0, NAME.1 …, which each run a part of the program's cases: side by side, as most of the
# time they wait, and before the short ones, so that none is left to run alone at the end.
function(walbrook_long_test name program shards labels)
    math(EXPR last "${shards} - 1")
    foreach(shard RANGE ${last})
        add_test(NAME ${name}.${shard} COMMAND ${program})
        set_tests_properties(${name}.${shard} PROPERTIES LABELS "${labels}" TIMEOUT 2700 COST 1000
            ENVIRONMENT "GTEST_TOTAL_SHARDS=${shards};GTEST_SHARD_INDEX=${shard}")
    endforeach()
endfunction()

# walbrook_recycles_memory(TESTS...)
#
# Tests in which DuckDB works, which frees and takes memory all the time: AddressSanitizer keeps
# less of it back, so that what is taken is still in the processor's caches.
function(walbrook_recycles_memory)
    set_property(TEST ${ARGN} APPEND PROPERTY ENVIRONMENT_MODIFICATION
        "ASAN_OPTIONS=string_append::quarantine_size_mb=2:thread_local_quarantine_size_kb=256")
endfunction()

# walbrook_driver(NAME SOURCES...), and walbrook_driver_test(NAME PROGRAM SHARDS LABELS)
#
# A program that tests `walbrook` from outside, and a long test of it. Where WALBROOK_TEST_DRIVERS
# names another build (the preset dev names release), the program comes from there and starts the
# `walbrook` of this one: what sanitizers are to look at is the product, while most of what such a
# test computes itself are queries of DuckDB.
function(walbrook_driver name)
    add_executable(${name} ${ARGN})
    if(WALBROOK_TEST_DRIVERS)
        set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL ON)
    endif()
    target_link_libraries(${name} PRIVATE walbrook_pg_main walbrook_test_flags)
    add_dependencies(${name} walbrook)
    walbrook_release_tests(${name})
endfunction()

function(walbrook_driver_test name program shards labels)
    if(NOT WALBROOK_TEST_DRIVERS)
        walbrook_long_test(${name} ${program} ${shards} "${labels}")
        return()
    endif()
    walbrook_long_test(${name} ${WALBROOK_TEST_DRIVERS}/${program} ${shards} "${labels}")
    math(EXPR last "${shards} - 1")
    foreach(shard RANGE ${last})
        set_property(TEST ${name}.${shard} APPEND PROPERTY ENVIRONMENT
            WALBROOK_TEST_PROGRAM=$<TARGET_FILE:walbrook> WALBROOK_TEST_SANITIZED=1)
        # A seventh of their time went into looking for leaks at each end of a process. The programs
        # that have the pipeline in themselves do that, and e2e.* of the program.
        set_property(TEST ${name}.${shard} APPEND PROPERTY ENVIRONMENT_MODIFICATION
            "ASAN_OPTIONS=string_append::detect_leaks=0")
        walbrook_recycles_memory(${name}.${shard})
    endforeach()
endfunction()

# walbrook_soak_test(NAME COMMAND...)
#
# Adds soak.NAME, the long form of a test, for `make soak` only.
function(walbrook_soak_test name)
    add_test(NAME soak.${name} COMMAND ${ARGN})
    set_tests_properties(soak.${name} PROPERTIES LABELS soak TIMEOUT 7200
        ENVIRONMENT "WALBROOK_TEST_LONG_FORM=1")
endfunction()

# walbrook_folder(NAME [LIBS ...] [TEST_LIBS ...])
#
# Makes the library walbrook_NAME from the *.cc beside the CMakeLists.txt, and, for
# developers, NAME_test from the *_test.cc there and NAME_pgtest from the *_pgtest.cc,
# which need a Postgres server (tests/support starts it). A folder lists nothing: what
# lies in it belongs to it.
function(walbrook_folder name)
    cmake_parse_arguments(arg "" "" "LIBS;TEST_LIBS" ${ARGN})
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
    set(tests ${sources})
    set(pgtests ${sources})
    list(FILTER sources EXCLUDE REGEX "_(pg)?test\\.cc$")
    list(FILTER tests INCLUDE REGEX "_test\\.cc$")
    list(FILTER pgtests INCLUDE REGEX "_pgtest\\.cc$")
    if(NOT sources)
        return()
    endif()
    add_library(walbrook_${name} STATIC ${sources})
    target_include_directories(walbrook_${name} PUBLIC
        $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
        $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>)
    target_link_libraries(walbrook_${name} PUBLIC ${arg_LIBS} PRIVATE $<BUILD_INTERFACE:walbrook_flags>)
    if(WALBROOK_DEVELOPER AND tests)
        add_executable(${name}_test ${tests})
        target_link_libraries(${name}_test PRIVATE
            walbrook_${name} ${arg_TEST_LIBS} GTest::gmock GTest::gtest_main walbrook_test_flags)
        add_test(NAME unit.${name} COMMAND ${name}_test)
        set_tests_properties(unit.${name} PROPERTIES LABELS unit TIMEOUT 300)
    endif()
    if(WALBROOK_DEVELOPER AND pgtests)
        add_executable(${name}_pgtest ${pgtests})
        target_link_libraries(${name}_pgtest PRIVATE
            walbrook_${name} ${arg_TEST_LIBS} walbrook_test_support
            GTest::gmock GTest::gtest_main walbrook_test_flags)
        walbrook_release_tests(${name}_pgtest)
        add_test(NAME pg.${name} COMMAND ${name}_pgtest)
        # Longer than unit tests: begun before them, or the last one runs alone.
        set_tests_properties(pg.${name} PROPERTIES LABELS pg TIMEOUT 900 COST 500)
    endif()
endfunction()
