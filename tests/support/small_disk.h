#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace walbrook::testing {

// A folder whose files have so much room together and no more.
//
//   mounted   a tmpfs in a mount namespace of this thread and of the processes that it
//             starts from now on, so that nothing of it outlives the test
//   counted   for those who may not mount: the writes of a program that is started with
//             environment() are counted, and what is too much is refused
class SmallDisk {
 public:
    enum class Kind { mounted, counted };

    // The folder is made; what it had is hidden, and its mode becomes 0700. Where mounting is
    // refused, `mounted` is `counted`, and a line on stderr says so.
    SmallDisk(const std::string& folder, std::uint64_t bytes, Kind kind);
    ~SmallDisk();
    SmallDisk(const SmallDisk&) = delete;
    SmallDisk& operator=(const SmallDisk&) = delete;

    // What it has become, for reports.
    std::string_view name() const { return kind_ == Kind::mounted ? "mounted" : "counted"; }
    // For programs that write there: without it a counted disk has no end for them.
    std::vector<std::pair<std::string, std::string>> environment() const;
    void resize(std::uint64_t bytes);
    // From now on there is room for so much more, until resize().
    void fill(std::uint64_t left = 0);

 private:
    bool mount_it(std::uint64_t bytes);
    std::string limit_file() const { return folder_ + ".limit"; }

    const std::string folder_;
    Kind kind_;
};

}  // namespace walbrook::testing
