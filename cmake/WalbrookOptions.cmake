# Flags of every target of ours: warnings, debug information, sanitizers, linker.

add_library(walbrook_flags INTERFACE)
target_compile_options(walbrook_flags INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Wold-style-cast
    -Wunused-result -Werror=switch)
# g++ 12 sees through std::optional and then believes that it reads an empty one.
target_compile_options(walbrook_flags INTERFACE -Wno-maybe-uninitialized)
target_compile_definitions(walbrook_flags INTERFACE _GLIBCXX_ASSERTIONS)
if(WALBROOK_DEVELOPER)
    target_compile_definitions(walbrook_flags INTERFACE WALBROOK_FAILPOINTS=1)
endif()
if(WALBROOK_SANITIZE)
    # Interfaces of prebuilt libraries are not instrumented: vptr checks would misread them.
    # A null pointer is found without being looked for, and looking costs a third of the build.
    target_compile_options(walbrook_flags INTERFACE
        -fsanitize=${WALBROOK_SANITIZE} -fno-sanitize-recover=all -fno-sanitize=null
        -fno-omit-frame-pointer)
    target_link_options(walbrook_flags INTERFACE -fsanitize=${WALBROOK_SANITIZE})
endif()
find_program(WALBROOK_MOLD mold)
if(WALBROOK_MOLD)
    target_link_options(walbrook_flags INTERFACE -fuse-ld=mold)
endif()
if(PROJECT_IS_TOP_LEVEL)
    find_program(WALBROOK_CCACHE ccache)
    if(WALBROOK_CCACHE)
        set(CMAKE_CXX_COMPILER_LAUNCHER ${WALBROOK_CCACHE})
    endif()
endif()
