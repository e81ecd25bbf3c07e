#include "fuzz/memory_bound.h"

#include <atomic>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#define WALBROOK_COUNTS_MEMORY 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WALBROOK_COUNTS_MEMORY 1
#endif
#endif

#ifdef WALBROOK_COUNTS_MEMORY

// As sanitizer/allocator_interface.h has them, which gcc comes without.
extern "C" {
int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void*, std::size_t),
                                              void (*)(const volatile void*));
std::size_t __sanitizer_get_allocated_size(const volatile void*);
}

namespace walbrook::fuzz {
namespace {

std::atomic<std::int64_t> at_once = 0;
std::atomic<std::int64_t> most = 0;

// Of allocations that were made before the hooks, too: at_once may be negative.
void on_malloc(const volatile void*, std::size_t size) {
    const std::int64_t now = at_once += static_cast<std::int64_t>(size);
    std::int64_t before = most;
    while (before < now && !most.compare_exchange_weak(before, now)) {
    }
}

void on_free(const volatile void* pointer) {
    if (pointer == nullptr) return;
    at_once -=
        static_cast<std::int64_t>(__sanitizer_get_allocated_size(const_cast<const void*>(pointer)));
}

}  // namespace

bool counts_memory() { return true; }

std::size_t run_and_count(std::string_view input) {
    static const int installed = __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
    if (installed == 0) std::abort();
    const std::int64_t before = at_once;
    most = before;
    run(input);
    return static_cast<std::size_t>(most - before);
}

}  // namespace walbrook::fuzz

#else

namespace walbrook::fuzz {

bool counts_memory() { return false; }

std::size_t run_and_count(std::string_view input) {
    run(input);
    return 0;
}

}  // namespace walbrook::fuzz

#endif
