#pragma once

#include <cstddef>
#include <memory>

namespace walbrook::internal {

// Room to build one value that a column takes whole. Small values stay on the
// stack; only the rare large one (a numeric of 100,000 digits) asks for memory.
class Scratch {
 public:
    char* room(std::size_t bytes) {
        if (bytes <= sizeof small_) return small_;
        large_.reset(new char[bytes]);
        return large_.get();
    }

 private:
    char small_[512];
    std::unique_ptr<char[]> large_;
};

}  // namespace walbrook::internal
