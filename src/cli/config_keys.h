#pragma once

#include "walbrook/config.h"
#include "walbrook/destinations.h"
#include "walbrook/pipeline.h"

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace walbrook {

enum class StoreType { memory, sqlite, postgres };
enum class DestinationKind { none, ducklake, blackhole };
enum class LogFormat { automatic, human, json };

struct StoreConfig {
    StoreType type = StoreType::sqlite;
    std::string path;
};

struct ServerConfig {
    std::string listen = "127.0.0.1:9090";  // Or "off".
    std::string token;
    std::string tls_cert;  // These two: PEM text or a path.
    std::string tls_key;
};

// The comparisons that `run` does by itself (cli/schedule.h).
struct VerifyConfig {
    std::string schedule = "off";
    std::vector<std::string> tables;  // Names or patterns; empty: all.
    std::uint64_t max_rows_per_second = 0;
    bool repair = false;
};

struct LogConfig {
    LogLevel level = LogLevel::info;
    LogFormat format = LogFormat::automatic;
};

// All of walbrook.yaml. Paths are absolute once loaded.
struct ProgramConfig {
    std::uint32_t config_version = 1;
    PipelineConfig pipeline;
    StoreConfig store;
    std::optional<PgConnectionConfig> store_pg_connection;
    DestinationKind destination = DestinationKind::none;
    DuckLakeConfig ducklake;
    ServerConfig server;
    VerifyConfig verify;
    LogConfig log;
};

// Where in ProgramConfig the value of a key lives; what it is says which values fit.
template <class T>
using PlaceOf = std::function<T&(ProgramConfig&)>;
struct ChoicePlace {
    std::function<void(ProgramConfig&, std::size_t)> set;  // Index into Key::choices.
    std::function<std::size_t(ProgramConfig&)> get;
};
using Place = std::variant<PlaceOf<std::string>, PlaceOf<std::uint16_t>, PlaceOf<std::uint32_t>,
                           PlaceOf<std::uint64_t>, PlaceOf<double>,
                           PlaceOf<std::vector<std::string>>, ChoicePlace>;

// What a relative text value is relative to.
enum class PathRule {
    not_a_path,
    path,         // A file or folder.
    path_or_pem,  // PEM text stays as it is.
    path_or_url,  // s3://… stays as it is.
    catalog,      // A path, duckdb:PATH, or postgres:DSN, which stays as it is.
};

// What of a value may be printed. What is not `none` may also be read from a file that
// the key `<name>_file` names.
enum class Secrecy {
    none,
    inside,  // A url or DSN that may hold a password; PEM text of a key.
    whole,
};

// One key of walbrook.yaml. Parsing, `config schema`, `config show`, the document
// docs/configuration.md and the error messages are all made from these rows.
struct Key {
    std::string name;  // "pipeline.batch.max_fill_ms"
    Place place;
    std::string doc;            // A sentence for people.
    std::string example;        // A value, as it stands in YAML.
    std::string fallback = {};  // Said of the default where it depends on other keys.
    std::uint64_t min = 0;      // Whole numbers only; ratios lie above 0 and up to 1.
    std::uint64_t max = 0;
    std::vector<std::string_view> choices = {};
    PathRule path_rule = PathRule::not_a_path;
    bool required = false;
    Secrecy secrecy = Secrecy::none;
};

// A map of keys. Every prefix of a key is one; only those with something to say stand
// in the table.
struct Section {
    std::string name;
    std::string doc;
    // It is in the configuration, however empty.
    std::function<void(ProgramConfig&)> enter = {};
    // It is null; without this, null is refused.
    std::function<void(ProgramConfig&)> none = {};
};

// A key that will come: refused until it does something.
struct PlannedKey {
    std::string_view name;
};

// In the order in which documents show them.
const std::vector<Key>& config_keys();
const std::vector<Section>& config_sections();
const std::vector<PlannedKey>& planned_keys();

const Key* find_key(std::string_view name);
const Section* find_section(std::string_view name);
// True for "pipeline" and "pipeline.batch": some key or section lies at or below it.
bool is_section(std::string_view name);
bool is_planned(std::string_view name);
// Names directly below a section ("" is the top), in order, with *_file of secrets.
std::vector<std::string> names_below(std::string_view section);

// The secret key that `name` gives a file for: "…password" for "…password_file".
const Key* secret_of_file_key(std::string_view name);

// What the key's value is in `config`, as YAML would show it; "" for nothing.
// Secrets are masked.
std::string printed_value(const Key& key, ProgramConfig& config);
// The default, for documents: the struct's own, or the sentence about it.
std::string printed_default(const Key& key);
// "a whole number from 1 to 64", "one of error, recreate".
std::string expectation(const Key& key);

}  // namespace walbrook
