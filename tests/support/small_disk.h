#pragma once

#include <cstdint>
#include <string>

namespace walbrook::testing {

// A folder on a disk of its own (a tmpfs in a mount namespace of this thread and of the
// processes that it starts from now on, so that nothing of it outlives the test).
class SmallDisk {
 public:
    // The folder is made; what it had is hidden. Its mode becomes 0700.
    SmallDisk(std::string folder, std::uint64_t bytes);
    ~SmallDisk();
    SmallDisk(const SmallDisk&) = delete;
    SmallDisk& operator=(const SmallDisk&) = delete;

    // False where we may not mount anything: then the folder is on the disk that it was on.
    bool is_real() const { return is_real_; }
    void resize(std::uint64_t bytes);

 private:
    const std::string folder_;
    bool is_real_ = false;
};

}  // namespace walbrook::testing
