# Flags of every target of ours: warnings, debug information, sanitizers, linker.
#
#   walbrook_flags        the product
#   walbrook_test_flags   what only tests are made of

add_library(walbrook_common_flags INTERFACE)
target_compile_options(walbrook_common_flags INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Wold-style-cast
    -Wunused-result -Werror=switch)
# g++ 12 sees through std::optional and then believes that it reads an empty one.
target_compile_options(walbrook_common_flags INTERFACE -Wno-maybe-uninitialized)
target_compile_definitions(walbrook_common_flags INTERFACE _GLIBCXX_ASSERTIONS)
if(WALBROOK_DEVELOPER)
    target_compile_definitions(walbrook_common_flags INTERFACE WALBROOK_FAILPOINTS=1)
endif()
# A source among others in one file is included, as a header is: but it is still no header.
if(CMAKE_UNITY_BUILD)
    target_compile_options(walbrook_common_flags INTERFACE -Wno-subobject-linkage)
endif()
if(WALBROOK_SANITIZE)
    target_compile_options(walbrook_common_flags INTERFACE -fno-omit-frame-pointer)
    target_link_options(walbrook_common_flags INTERFACE -fsanitize=${WALBROOK_SANITIZE})
endif()
find_program(WALBROOK_MOLD mold)
if(WALBROOK_MOLD)
    # Each segment on pages of its own: otherwise mold before 2.4 lets GNU_RELRO begin at a `.tbss`
    # that may be at the end of a page which belongs to no segment, by chance of all sizes before
    # it. Such a program does not start: "cannot apply additional memory protection after
    # relocation" (https://github.com/rui314/mold/issues/1151).
    target_link_options(walbrook_common_flags INTERFACE
        -fuse-ld=mold LINKER:-z,separate-loadable-segments)
endif()

add_library(walbrook_flags INTERFACE)
target_link_libraries(walbrook_flags INTERFACE walbrook_common_flags)
if(WALBROOK_SANITIZE)
    # Interfaces of prebuilt libraries are not instrumented: vptr checks would misread them.
    # A null pointer is found without being looked for, and looking costs a third of the build;
    # sizes of objects are AddressSanitizer's. Alignment, a sixth of the rest, is the fuzzers' to
    # look at.
    target_compile_options(walbrook_flags INTERFACE
        -fsanitize=${WALBROOK_SANITIZE} -fno-sanitize-recover=all -fno-sanitize=null,object-size
        $<$<NOT:$<BOOL:${WALBROOK_FUZZ}>>:-fno-sanitize=alignment>)
endif()

# What only tests are made of is compiled plainly: it is most of the build, runs for moments, and
# what sanitizers are to look at is the product. Addresses are still watched.
add_library(walbrook_test_flags INTERFACE)
target_link_libraries(walbrook_test_flags INTERFACE walbrook_common_flags)
target_compile_options(walbrook_test_flags INTERFACE -O0)
string(REPLACE ",undefined" "" walbrook_test_sanitize "${WALBROOK_SANITIZE}")
if(walbrook_test_sanitize)
    target_compile_options(walbrook_test_flags INTERFACE -fsanitize=${walbrook_test_sanitize})
endif()

if(PROJECT_IS_TOP_LEVEL)
    find_program(WALBROOK_CCACHE ccache)
    if(WALBROOK_CCACHE)
        set(CMAKE_CXX_COMPILER_LAUNCHER ${WALBROOK_CCACHE})
    endif()
endif()
