#include "fuzz/fuzz.h"
#include "fuzz/memory_bound.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>

// libFuzzer's way into a target. `--write-seeds=FOLDER` writes them there and ends.
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
    GTEST_FLAG_SET(break_on_failure, true);
    // libFuzzer keeps the input of an abort, and knows nothing of traps.
    std::signal(SIGTRAP, [](int) { std::abort(); });
    constexpr std::string_view kOption = "--write-seeds=";
    for (int i = 1; i < *argc; ++i) {
        const std::string_view argument = (*argv)[i];
        if (!argument.starts_with(kOption)) continue;
        const std::string folder(argument.substr(kOption.size()));
        std::size_t number = 0;
        for (const std::string& seed : walbrook::fuzz::seeds()) {
            std::ofstream(folder + "/seed-" + std::to_string(number++), std::ios::binary) << seed;
        }
        std::exit(0);
    }
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::size_t bytes =
        walbrook::fuzz::run_and_count({reinterpret_cast<const char*>(data), size});
    EXPECT_LE(bytes, walbrook::fuzz::memory_bound(size)) << "for " << size << " bytes";
    return 0;
}
