#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// A fuzz target is a file NAME_fuzz.cc that defines the three functions below. It is built twice:
//
//   fuzz_NAME     clang's libFuzzer makes up inputs (`scripts/fuzz NAME`, preset `fuzz`)
//   replay_NAME   every build: runs the inputs of corpus/NAME.hex and damaged seeds (`make test`)
//
// Properties are gtest's EXPECT_…; under libFuzzer the first that does not hold ends the process.
namespace walbrook::fuzz {

// Must return, for any bytes whatever.
void run(std::string_view input);

// What it may have in memory at once for each byte of its input, beside what it needs for any: one
// of the two below.
std::size_t memory_factor();
// Targets take their input apart several times. A length that is read is believed for no more than
// what is there.
inline constexpr std::size_t kBytesOfAny = 1024;
// A numeric of ten bytes (fourteen in an array) may be 131,072 digits before the point and 16,383
// behind it (NUMERIC_WEIGHT_MAX and NUMERIC_DSCALE_MAX, src/backend/utils/adt/numeric.c), and is
// text where its size is not declared. For targets that read several at once: one alone is within
// what is needed for any input.
inline constexpr std::size_t kBytesOfNumerics = 64 * 1024;

// Inputs that say something, as a start for both.
std::vector<std::string> seeds();

// Takes the bytes from the front that choose a case.
class Input {
 public:
    explicit Input(std::string_view bytes) : bytes_(bytes) {}
    // 0 to end - 1; 0 where nothing is left.
    std::size_t choose(std::size_t end) {
        if (bytes_.empty()) return 0;
        const auto byte = static_cast<unsigned char>(bytes_.front());
        bytes_.remove_prefix(1);
        return byte % end;
    }
    // In a place of its own, so that a sanitizer sees a step over its end.
    std::string rest() const { return std::string(bytes_); }

 private:
    std::string_view bytes_;
};

// How choose() is made to give `choice` (below 256).
inline std::string choice(std::size_t choice) {
    return std::string(1, static_cast<char>(static_cast<unsigned char>(choice)));
}

}  // namespace walbrook::fuzz
