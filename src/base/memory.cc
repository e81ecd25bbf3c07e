#include "base/memory.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <limits>
#include <malloc.h>
#include <sched.h>
#include <sstream>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace walbrook {
namespace {

namespace fs = std::filesystem;

std::optional<std::string> read_text(const fs::path& path) {
    std::ifstream file(path);
    if (!file) return std::nullopt;
    std::ostringstream text;
    text << file.rdbuf();
    return std::move(text).str();
}

// The number at the beginning; nothing for "max" and for what is none.
std::optional<std::uint64_t> number_at(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end == text.data()) return std::nullopt;
    return value;
}

// "name value" lines.
std::optional<std::uint64_t> member(std::string_view text, std::string_view name) {
    while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        if (line.starts_with(name) && line.size() > name.size() && line[name.size()] == ' ') {
            return number_at(line.substr(name.size() + 1));
        }
        text.remove_prefix(std::min(line.size() + 1, text.size()));
    }
    return std::nullopt;
}

// Our group in one hierarchy, and the groups above it, as folders.
struct Group {
    bool is_v2 = false;
    std::vector<fs::path> folders;  // Ours first.
};

// Lines of /proc/self/cgroup: "0::/path" (version 2), "4:memory,…:/path" (version 1).
// Inside a container the path may name a folder that is only seen outside: the mount's
// root is then our own group.
std::optional<Group> find_group(const fs::path& root, std::string_view controller) {
    const std::optional<std::string> text = read_text(root / "proc/self/cgroup");
    if (!text) return std::nullopt;
    std::optional<Group> found;
    std::istringstream lines(*text);
    for (std::string line; std::getline(lines, line);) {
        const std::size_t first = line.find(':');
        const std::size_t second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        const std::string list = "," + line.substr(first + 1, second - first - 1) + ",";
        const bool is_v2 = list == ",,";
        const std::string wanted = "," + std::string(controller) + ",";
        if (!is_v2 && list.find(wanted) == std::string::npos) continue;
        if (is_v2 && found) continue;  // A version 1 hierarchy has the controller.
        const fs::path mount = is_v2 ? root / "sys/fs/cgroup" : root / "sys/fs/cgroup" / controller;
        Group group{is_v2, {}};
        fs::path inside = fs::path(line.substr(second + 1)).relative_path();
        for (; !inside.empty(); inside = inside.parent_path()) {
            std::error_code ignored;
            if (fs::is_directory(mount / inside, ignored)) group.folders.push_back(mount / inside);
        }
        group.folders.push_back(mount);
        found = std::move(group);
    }
    return found;
}

std::optional<std::uint64_t> group_memory_limit(const Group& group, std::uint64_t physical) {
    std::optional<std::uint64_t> least;
    for (const fs::path& folder : group.folders) {
        const auto text =
            read_text(folder / (group.is_v2 ? "memory.max" : "memory.limit_in_bytes"));
        const auto limit = text ? number_at(*text) : std::nullopt;
        // Version 1 says "none" with a number near the end of 64 bits.
        if (!limit || *limit == 0 || *limit >= physical) continue;
        least = std::min(least.value_or(*limit), *limit);
    }
    return least;
}

// Whole processors that a quota amounts to, rounded up.
std::optional<unsigned> group_cpus(const Group& group) {
    std::optional<unsigned> least;
    for (const fs::path& folder : group.folders) {
        std::optional<std::uint64_t> quota;
        std::optional<std::uint64_t> period;
        if (group.is_v2) {
            const std::string text = read_text(folder / "cpu.max").value_or("");
            quota = number_at(text);
            const std::size_t space = text.find(' ');
            if (space != std::string::npos)
                period = number_at(std::string_view(text).substr(space + 1));
        } else {
            quota = number_at(read_text(folder / "cpu.cfs_quota_us").value_or(""));
            period = number_at(read_text(folder / "cpu.cfs_period_us").value_or(""));
        }
        if (!quota || !period || *quota == 0 || *period == 0) continue;
        const std::uint64_t whole = std::min<std::uint64_t>((*quota + *period - 1) / *period, 4096);
        const auto cpus = static_cast<unsigned>(whole);
        least = std::min(least.value_or(cpus), cpus);
    }
    return least;
}

std::uint64_t physical_memory(const fs::path& root) {
    const std::string text = read_text(root / "proc/meminfo").value_or("");
    const std::size_t at = text.find("MemTotal:");
    if (at == std::string::npos) return std::numeric_limits<std::uint64_t>::max();
    const std::size_t digits = text.find_first_of("0123456789", at);
    const auto kib = digits == std::string::npos ? std::nullopt
                                                 : number_at(std::string_view(text).substr(digits));
    return kib.value_or(std::numeric_limits<std::uint64_t>::max() >> 10) << 10;
}

unsigned usable_cpus() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return static_cast<unsigned>(std::max(1, CPU_COUNT(&set)));
}

std::optional<std::uint64_t> group_memory_in_use(const Group& group) {
    const auto stat = read_text(group.folders.front() / "memory.stat");
    if (!stat) return std::nullopt;
    // Version 1 counts its own tasks in "rss" and those below it in "total_rss".
    const auto anonymous = member(*stat, group.is_v2 ? "anon" : "total_rss");
    if (!anonymous) return std::nullopt;
    return *anonymous + member(*stat, group.is_v2 ? "shmem" : "total_shmem").value_or(0);
}

std::optional<std::uint64_t> process_memory_in_use(const fs::path& root) {
    // Fields: size, resident, shared (pages of files), …
    std::istringstream fields(read_text(root / "proc/self/statm").value_or(""));
    std::uint64_t size = 0;
    std::uint64_t resident = 0;
    std::uint64_t shared = 0;
    if (!(fields >> size >> resident >> shared)) return std::nullopt;
    const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    return (resident - std::min(resident, shared)) * page;
}

}  // namespace

MachineLimits read_machine_limits(const fs::path& root) {
    MachineLimits limits;
    limits.memory_bytes = physical_memory(root);
    limits.cpus = usable_cpus();
    if (const auto group = find_group(root, "memory")) {
        if (const auto bytes = group_memory_limit(*group, limits.memory_bytes)) {
            limits.memory_bytes = *bytes;
            limits.is_container = true;
        }
    }
    if (const auto group = find_group(root, "cpu")) {
        if (const auto cpus = group_cpus(*group)) limits.cpus = std::clamp(*cpus, 1U, limits.cpus);
    }
    return limits;
}

std::optional<std::uint64_t> read_memory_in_use(const MachineLimits& limits, const fs::path& root) {
    if (limits.is_container) {
        const auto group = find_group(root, "memory");
        if (const auto bytes = group ? group_memory_in_use(*group) : std::nullopt) return bytes;
    }
    return process_memory_in_use(root);
}

void release_free_memory() { malloc_trim(0); }

}  // namespace walbrook
