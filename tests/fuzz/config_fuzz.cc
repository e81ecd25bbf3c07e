#include "cli/config_load.h"
#include "cli/config_print.h"
#include "fuzz/fuzz.h"

#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

// The configuration file: problems, or a configuration that `config show` prints so that it can be
// read back, with the same effect.
namespace walbrook::fuzz {
namespace {

LoadedConfig parse(const std::string& text) { return parse_config(text, "x.yaml", "/nowhere", {}); }

}  // namespace

void run(std::string_view bytes) {
    // Those keys read files, which is the system's to test.
    if (bytes.find("_file") != std::string_view::npos) return;
    const LoadedConfig first = parse(std::string(bytes));
    for (const ConfigProblem& problem : first.problems) EXPECT_NE(to_string(problem), "");
    if (!first.problems.empty()) return;
    const std::string shown = config_as_yaml(first);
    const LoadedConfig second = parse(shown);
    for (const ConfigProblem& problem : second.problems) ADD_FAILURE() << to_string(problem);
    EXPECT_EQ(YAML::Dump(YAML::Load(shown)), YAML::Dump(YAML::Load(config_as_yaml(second))));
}

std::size_t memory_factor() { return kBytesOfAny; }

std::vector<std::string> seeds() {
    return {
        "pipeline:\n  id: 1\n  publication_name: p\n  pg_connection: {url: 'postgres://u:s@h/d'}\n"
        "destination: {blackhole: {}}\n",
        "pipeline:\n  id: 18446744073709551615\n  publication_name: \"p q\"\n"
        "  pg_connection:\n    host: ::1\n    port: 5433\n    name: d\n    username: u\n"
        "    password: hunter2\n    tls: {mode: verify-full}\n"
        "  batch: {max_bytes: 1MiB, max_fill_ms: 200}\n  memory_backpressure: null\n"
        "destination: {blackhole: {}}\nlog: {level: debug, format: json}\n"
        "server: {listen: '[::1]:9090'}\n",
        "a: &x [1, 2]\nb: *x\n",
        "pipeline: {id: 1, id: 2}\n---\n...\n",
    };
}

}  // namespace walbrook::fuzz
