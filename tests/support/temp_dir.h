#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace walbrook::testing {

// A folder of its own (mode 0700), removed with all that is in it at the end. With
// WALBROOK_TEST_KEEP set it stays, and its path goes to stderr.
class TempDir {
 public:
    explicit TempDir(std::string_view purpose = "test");
    ~TempDir();
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;

    const std::filesystem::path& path() const { return path_; }
    // path() / name, as text.
    std::string file(std::string_view name) const { return (path_ / name).string(); }

 private:
    std::filesystem::path path_;
};

// The whole file; throws when it cannot be read.
std::string read_file(const std::filesystem::path& path);
// Replaces the file; throws when it cannot be written.
void write_file(const std::filesystem::path& path, std::string_view text);

}  // namespace walbrook::testing
