#pragma once

#include <cstdint>

namespace walbrook::sim {

// The only source of chance: the same seed gives the same run on every machine, which
// the distributions of the standard library do not promise. (splitmix64)
class Random {
 public:
    // Scrambled: neighbours would else draw the same numbers, one of them a step behind.
    explicit Random(std::uint64_t seed) : state_(scramble(seed + 1)) {}

    std::uint64_t next() {
        state_ += 0x9E37'79B9'7F4A'7C15ULL;
        return scramble(state_);
    }
    // In [0, n); n > 0.
    std::uint64_t below(std::uint64_t n) { return next() % n; }
    // In [low, high].
    std::uint64_t between(std::uint64_t low, std::uint64_t high) {
        return low + below(high - low + 1);
    }
    bool per_mille(std::uint64_t n) { return below(1000) < n; }
    bool percent(std::uint64_t n) { return below(100) < n; }
    template <class Container>
    auto& pick(Container& from) {
        return from[below(from.size())];
    }

 private:
    static std::uint64_t scramble(std::uint64_t z) {
        z = (z ^ (z >> 30)) * 0xBF58'476D'1CE4'E5B9ULL;
        z = (z ^ (z >> 27)) * 0x94D0'49BB'1331'11EBULL;
        return z ^ (z >> 31);
    }

    std::uint64_t state_;
};

}  // namespace walbrook::sim
