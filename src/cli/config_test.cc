#include "cli/config_load.h"
#include "cli/config_print.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace walbrook {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// The configuration contract, as users write it.
constexpr std::string_view kContract =
    "\n"
    "pipeline: {id: 1, publication_name: shop, pg_connection: {url: "
    "\"postgres://user@host:5432/db\"}, store: {type: sqlite, path: state.db}, "
    "batch: {max_fill_ms: 500}, work_dir: work}\n"
    "destination: {ducklake: {catalog: \"lake/catalog.sqlite\", data_path: \"lake/data\"}}"
    "      # a comment\n"
    "server: {listen: \"127.0.0.1:9090\"}\n";

LoadedConfig parse(std::string_view text, const Environment& environment = {}) {
    return parse_config(text, "walbrook.yaml", "/etc/walbrook", environment);
}

std::vector<std::string> problems_of(const LoadedConfig& loaded) {
    std::vector<std::string> texts;
    for (const ConfigProblem& problem : loaded.problems) texts.push_back(to_string(problem));
    return texts;
}

// A complete configuration with one more line under pipeline.
std::string with_pipeline(const std::string& line) {
    return "pipeline:\n  id: 1\n  publication_name: p\n  pg_connection: {url: 'postgres://h/d'}\n" +
           (line.empty() ? "" : "  " + line + "\n") + "destination: {blackhole: {}}\n";
}

TEST(Config, TheContractIsUnderstood) {
    const LoadedConfig loaded = parse(kContract);
    EXPECT_THAT(problems_of(loaded), IsEmpty());
    const ProgramConfig& config = loaded.config;
    EXPECT_EQ(config.pipeline.id, 1U);
    EXPECT_EQ(config.pipeline.publication_name, "shop");
    EXPECT_EQ(config.pipeline.pg_connection.url, "postgres://user@host:5432/db");
    EXPECT_EQ(config.store.type, StoreType::sqlite);
    EXPECT_EQ(config.store.path, "/etc/walbrook/state.db");
    EXPECT_EQ(config.pipeline.work_dir, "/etc/walbrook/work");
    EXPECT_EQ(config.pipeline.batch.max_fill_ms, 500U);
    EXPECT_EQ(config.destination, DestinationKind::ducklake);
    EXPECT_EQ(config.ducklake.catalog, "/etc/walbrook/lake/catalog.sqlite");
    EXPECT_EQ(config.ducklake.data_path, "/etc/walbrook/lake/data");
    EXPECT_EQ(config.server.listen, "127.0.0.1:9090");
    EXPECT_EQ(loaded.origins.at("pipeline.id"), "walbrook.yaml:2");
    EXPECT_EQ(loaded.origins.at("server.listen"), "walbrook.yaml:4");
}

// What each key does to the configuration. A key of the table that has no line here
// fails the test below.
struct Effect {
    std::string key;
    std::string value;  // As it stands in YAML.
    std::function<bool(const ProgramConfig&)> seen;
};

std::vector<Effect> connection_effects(
    const std::string& prefix,
    const std::function<const PgConnectionConfig&(const ProgramConfig&)>& at) {
    const auto row = [&](const char* key, const char* value, auto seen) {
        return Effect{prefix + "." + key, value,
                      [at, seen](const ProgramConfig& c) { return seen(at(c)); }};
    };
    return {
        row("url", "postgres://a/b", [](auto& c) { return c.url == "postgres://a/b"; }),
        row("host", "db", [](auto& c) { return c.host == "db"; }),
        row("port", "5433", [](auto& c) { return c.port == 5433; }),
        row("name", "shop", [](auto& c) { return c.name == "shop"; }),
        row("username", "u", [](auto& c) { return c.username == "u"; }),
        row("password", "'a: b #c'", [](auto& c) { return c.password == "a: b #c"; }),
        row("tls.mode", "verify-full", [](auto& c) { return c.tls.mode == "verify-full"; }),
        row("tls.trusted_root_certs", "root.crt",
            [](auto& c) { return c.tls.trusted_root_certs == "/etc/walbrook/root.crt"; }),
        row("tls.client_cert", "'-----BEGIN CERTIFICATE-----'",
            [](auto& c) { return c.tls.client_cert == "-----BEGIN CERTIFICATE-----"; }),
        row("tls.client_key", "/k", [](auto& c) { return c.tls.client_key == "/k"; }),
        row("keepalive.idle_secs", "31", [](auto& c) { return c.keepalive.idle_secs == 31; }),
        row("keepalive.interval_secs", "11",
            [](auto& c) { return c.keepalive.interval_secs == 11; }),
        row("keepalive.retries", "4", [](auto& c) { return c.keepalive.retries == 4; }),
    };
}

std::vector<Effect> pipeline_effects() {
    using C = const ProgramConfig&;
    return {
        {"pipeline.id", "18446744073709551615", [](C c) { return c.pipeline.id == ~0ULL; }},
        {"pipeline.publication_name", "q", [](C c) { return c.pipeline.publication_name == "q"; }},
        {"pipeline.work_dir", "w/../x",
         [](C c) { return c.pipeline.work_dir == "/etc/walbrook/x"; }},
        {"pipeline.store.type", "postgres",
         [](C c) { return c.store.type == StoreType::postgres; }},
        {"pipeline.store.path", "/s.db", [](C c) { return c.store.path == "/s.db"; }},
        {"pipeline.batch.max_fill_ms", "7", [](C c) { return c.pipeline.batch.max_fill_ms == 7; }},
        {"pipeline.batch.max_bytes", "77", [](C c) { return c.pipeline.batch.max_bytes == 77; }},
        {"pipeline.batch.memory_budget_ratio", "0.5",
         [](C c) { return c.pipeline.batch.memory_budget_ratio == 0.5; }},
        {"pipeline.memory_refresh_interval_ms", "50",
         [](C c) { return c.pipeline.memory_refresh_interval_ms == 50; }},
        {"pipeline.memory_backpressure.activate_threshold", "0.9",
         [](C c) { return c.pipeline.memory_backpressure->activate_threshold == 0.9; }},
        {"pipeline.memory_backpressure.resume_threshold", "0.1",
         [](C c) { return c.pipeline.memory_backpressure->resume_threshold == 0.1; }},
        {"pipeline.max_table_sync_workers", "9",
         [](C c) { return c.pipeline.max_table_sync_workers == 9; }},
        {"pipeline.max_copy_connections_per_table", "8",
         [](C c) { return c.pipeline.max_copy_connections_per_table == 8; }},
        {"pipeline.copy_lock_yield_ms", "99",
         [](C c) { return c.pipeline.copy_lock_yield_ms == 99; }},
        {"pipeline.table_sync_copy.type", "skip_tables",
         [](C c) { return c.pipeline.table_sync_copy.type == TableSyncCopyType::skip_tables; }},
        {"pipeline.table_sync_copy.tables", "[public.a, 'b.*']",
         [](C c) {
             return c.pipeline.table_sync_copy.tables ==
                    std::vector<std::string>{"public.a", "b.*"};
         }},
        {"pipeline.table_error_retry_delay_ms", "1234",
         [](C c) { return c.pipeline.table_error_retry_delay_ms == 1234; }},
        {"pipeline.table_error_retry_max_attempts", "0",
         [](C c) { return c.pipeline.table_error_retry_max_attempts == 0; }},
        {"pipeline.invalidated_slot_behavior", "recreate",
         [](C c) {
             return c.pipeline.invalidated_slot_behavior == InvalidatedSlotBehavior::recreate;
         }},
        {"pipeline.schema_change_policy", "stop",
         [](C c) { return c.pipeline.schema_change_policy == SchemaChangePolicy::stop; }},
        {"pipeline.copy_max_bytes_per_second", "70000",
         [](C c) { return c.pipeline.copy_max_bytes_per_second == 70'000; }},
        {"pipeline.max_slot_lag_bytes", "2000000",
         [](C c) { return c.pipeline.max_slot_lag_bytes == 2'000'000; }},
        {"pipeline.slot_lag_behavior", "drop_slot",
         [](C c) { return c.pipeline.slot_lag_behavior == SlotLagBehavior::drop_slot; }},
        {"pipeline.max_snapshot_age_secs", "60",
         [](C c) { return c.pipeline.max_snapshot_age_secs == 60; }},
        {"pipeline.heartbeat_interval_ms", "500",
         [](C c) { return c.pipeline.heartbeat_interval_ms == 500; }},
        {"pipeline.failover_slot", "off", [](C c) { return !c.pipeline.failover_slot; }},
    };
}

std::vector<Effect> all_effects() {
    using C = const ProgramConfig&;
    std::vector<Effect> all = pipeline_effects();
    for (const auto& more :
         {connection_effects("pipeline.pg_connection",
                             [](C c) -> const auto& { return c.pipeline.pg_connection; }),
          connection_effects("pipeline.store_pg_connection",
                             [](C c) -> const auto& { return *c.store_pg_connection; })}) {
        all.insert(all.end(), more.begin(), more.end());
    }
    const std::vector<Effect> rest = {
        {"destination.ducklake.catalog", "duckdb:c.duckdb",
         [](C c) { return c.ducklake.catalog == "duckdb:/etc/walbrook/c.duckdb"; }},
        {"destination.ducklake.data_path", "s3://b/p",
         [](C c) { return c.ducklake.data_path == "s3://b/p"; }},
        {"server.listen", "off", [](C c) { return c.server.listen == "off"; }},
        {"server.token", "0123456789abcdef",
         [](C c) { return c.server.token == "0123456789abcdef"; }},
        {"server.tls.cert", "a.crt",
         [](C c) { return c.server.tls_cert == "/etc/walbrook/a.crt"; }},
        {"server.tls.key", "a.key", [](C c) { return c.server.tls_key == "/etc/walbrook/a.key"; }},
        {"verify.schedule", "24h", [](C c) { return c.verify.schedule == "24h"; }},
        {"verify.tables", "[a.b, 'c.*']",
         [](C c) { return c.verify.tables == std::vector<std::string>{"a.b", "c.*"}; }},
        {"verify.max_rows_per_second", "500",
         [](C c) { return c.verify.max_rows_per_second == 500; }},
        {"verify.repair", "on", [](C c) { return c.verify.repair; }},
        {"log.level", "warn", [](C c) { return c.log.level == LogLevel::warn; }},
        {"log.format", "json", [](C c) { return c.log.format == LogFormat::json; }},
        {"config_version", "1", [](C c) { return c.config_version == 1; }},
    };
    all.insert(all.end(), rest.begin(), rest.end());
    return all;
}

// The key as nested flow maps: "a.b.c" and 1 become "a: {b: {c: 1}}".
std::string as_yaml(const std::string& key, const std::string& value) {
    const std::size_t dot = key.find('.');
    if (dot == std::string::npos) return key + ": " + value;
    return key.substr(0, dot) + ": {" + as_yaml(key.substr(dot + 1), value) + "}";
}

std::string variable_of(const std::string& key) {
    std::string name = "WALBROOK__";
    for (const char c : key) {
        if (c == '.') {
            name += "__";
        } else {
            name += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
        }
    }
    return name;
}

bool complains_about(const LoadedConfig& loaded, const std::string& key) {
    return std::any_of(loaded.problems.begin(), loaded.problems.end(),
                       [&](const ConfigProblem& problem) { return problem.key == key; });
}

TEST(Config, EveryKeyHasItsEffectFromFileAndEnvironment) {
    const std::vector<Effect> effects = all_effects();
    for (const Key& key : config_keys()) {
        SCOPED_TRACE(key.name);
        const auto effect = std::find_if(effects.begin(), effects.end(),
                                         [&](const Effect& e) { return e.key == key.name; });
        ASSERT_NE(effect, effects.end()) << "the key has no line in this test";
        const LoadedConfig file = parse(as_yaml(key.name, effect->value));
        EXPECT_TRUE(effect->seen(file.config));
        EXPECT_EQ(file.origins.at(key.name), "walbrook.yaml:1");
        std::string plain = effect->value;
        if (plain.front() == '\'') plain = plain.substr(1, plain.size() - 2);
        const LoadedConfig variable = parse("log: {}", {variable_of(key.name) + "=" + plain});
        EXPECT_TRUE(effect->seen(variable.config));
        EXPECT_EQ(variable.origins.at(key.name), "environment " + variable_of(key.name));
    }
}

TEST(Config, NumbersObeyTheSameLimitsInFileAndLibrary) {
    for (const Key& key : config_keys()) {
        if (!key.name.starts_with("pipeline.") || key.max == 0 || key.name.ends_with(".port") ||
            key.name.starts_with("pipeline.store_pg_connection")) {
            continue;
        }
        SCOPED_TRACE(key.name);
        const auto library_complains = [&](std::uint64_t value) {
            ProgramConfig config;
            struct Put {
                ProgramConfig& config;
                std::uint64_t value;
                void operator()(const PlaceOf<std::uint16_t>& at) const {
                    at(config) = static_cast<std::uint16_t>(value);
                }
                void operator()(const PlaceOf<std::uint32_t>& at) const {
                    at(config) = static_cast<std::uint32_t>(value);
                }
                void operator()(const PlaceOf<std::uint64_t>& at) const { at(config) = value; }
                void operator()(const PlaceOf<std::string>&) const { FAIL(); }
                void operator()(const PlaceOf<double>&) const { FAIL(); }
                void operator()(const PlaceOf<std::vector<std::string>>&) const { FAIL(); }
                void operator()(const ChoicePlace&) const { FAIL(); }
            };
            std::visit(Put{config, value}, key.place);
            const std::vector<std::string> found = config.pipeline.problems();
            return std::any_of(found.begin(), found.end(), [&](const std::string& text) {
                return text.starts_with(key.name + ": ");
            });
        };
        const auto file_complains = [&](std::uint64_t value) {
            return complains_about(parse(as_yaml(key.name, std::to_string(value))), key.name);
        };
        for (const std::uint64_t good : {key.min, key.max}) {
            EXPECT_FALSE(library_complains(good));
            EXPECT_FALSE(file_complains(good));
        }
        if (key.min > 0) {
            EXPECT_TRUE(library_complains(key.min - 1) && file_complains(key.min - 1));
        }
        if (key.max < ~0ULL) {
            EXPECT_TRUE(library_complains(key.max + 1) && file_complains(key.max + 1));
        }
    }
}

TEST(Config, AllProblemsComeAtOnceEachWithKeyPlaceAndRemedy) {
    const LoadedConfig loaded = parse(R"(
pipeline:
  id: seven
  publication: shop
  batch: {max_fil_ms: 500, max_bytes: 0}
  store: {type: sqllite}
  memory_backpressure: {activate_threshold: 0.5}
  tables: {}
destinaton:
  blackhole: {}
log: loud
config_version: 2
)");
    EXPECT_THAT(
        problems_of(loaded),
        testing::UnorderedElementsAre(
            "walbrook.yaml:3: pipeline.id: must be a whole number from 1 up, not \"seven\"; for "
            "example id: 1",
            "walbrook.yaml:4: pipeline.publication: there is no such key; did you mean "
            "publication_name?",
            "walbrook.yaml:5: pipeline.batch.max_fil_ms: there is no such key; did you mean "
            "max_fill_ms?",
            "walbrook.yaml:5: pipeline.batch.max_bytes: must be a whole number from 1 to "
            "1073741824, not \"0\"; for example max_bytes: 8388608",
            "walbrook.yaml:6: pipeline.store.type: must be one of memory, sqlite, postgres, not "
            "\"sqllite\"; did you mean sqlite?",
            "walbrook.yaml:8: pipeline.tables: is not supported yet; remove it",
            "walbrook.yaml:9: destinaton: there is no such key; did you mean destination?",
            "walbrook.yaml:11: log: must be a map; write log: {…} with keys from: level, format",
            "walbrook.yaml:12: config_version: must be 1, not \"2\"; for example config_version: 1",
            "walbrook.yaml:2: pipeline.publication_name: is required; the name of a publication "
            "of the source",
            "walbrook.yaml:2: pipeline.pg_connection: is required; give url, for example "
            "\"postgres://user@host:5432/db\", or host, name and username",
            "walbrook.yaml:7: pipeline.memory_backpressure.resume_threshold: must be below "
            "activate_threshold (0.5), not 0.75",
            "walbrook.yaml: destination: is required; for example destination: {ducklake: "
            "{catalog: \"lake/catalog.sqlite\", data_path: \"lake/data\"}}"));
}

struct OneProblem {
    std::string pipeline_line;
    std::string problem;
};

TEST(Config, NamesWhatIsWrongAndTheRemedy) {
    const OneProblem cases[] = {
        {"id: 2", "walbrook.yaml:5: pipeline.id: stands here twice; remove one"},
        {"batch: 5",
         "must be a map; write batch: {…} with keys from: max_fill_ms, max_bytes, "
         "memory_budget_ratio"},
        {"batch:", "walbrook.yaml:5: pipeline.batch: has no value; give it keys or remove it"},
        {"batch: {max_fill_ms: }", "but has no value; for example max_fill_ms: 500"},
        {"batch: {max_fill_ms: [1]}", "from 1 to 600000, not a list"},
        {"batch: {max_fill_ms: {a: 1}}", "must be a single value, not a map"},
        {"batch: {max_fill_ms: -1}", "not \"-1\""},
        {"batch: {max_fill_ms: 1.5}", "not \"1.5\""},
        {"batch: {max_fill_ms: 0x10}", "not \"0x10\""},
        {"batch: {max_fill_ms: 99999999999999999999}", "must be a whole number"},
        {"batch: {memory_budget_ratio: nan}", "must be a number above 0 and up to 1, not \"nan\""},
        {"batch: {memory_budget_ratio: 1e400}", "must be a number above 0 and up to 1"},
        {"table_sync_copy: {type: skip_tables, tables: public.a}",
         "pipeline.table_sync_copy.tables: must be a list; for example [public.orders"},
        {"table_sync_copy: {type: skip_tables}", "pipeline.table_sync_copy.tables: is required"},
        {"table_sync_copy: {tables: [a.b]}", "has an effect only for include_tables"},
        {"table_sync_copy: {type: skip_tables, tables: [a]}", "\"a\" must name schema and table"},
        {"table_sync_copy: {type: skip_tables, tables: [{}]}", "must be a list of plain texts"},
        {"store: {type: memory, path: x}",
         "pipeline.store.path: has no effect while pipeline.store.type is not sqlite; remove it"},
        {"store_pg_connection: {url: 'postgres://h/d'}",
         "pipeline.store_pg_connection: has no effect while pipeline.store.type is not postgres"},
        {"max_fill_ms: 5", "there is no such key here; did you mean pipeline.batch.max_fill_ms?"},
        {"zzzzzzz: 5", "there is no such key; known here: id, publication_name, pg_connection"},
        {"tables: {}", "is not supported yet; remove it"},
        {"copy_max_bytes_per_second: 5",
         "pipeline.copy_max_bytes_per_second: must be 0 (off), or from 65536 to"},
        {"slot_lag_behavior: drop_slot",
         "pipeline.slot_lag_behavior: drop_slot has no effect without max_slot_lag_bytes"},
        {"max_snapshot_age: 5", "did you mean max_snapshot_age_secs?"},
        {"work_dir: ''", "pipeline.work_dir: must be a text, not \"\""},
        {"work_dir: ${NOT_SET}",
         "the environment variable NOT_SET is not set; set it, or write "
         "${NOT_SET:-value} to give a default"},
        {"work_dir: ${OPEN", "${ has no closing }"},
        {"? [a, b]\n  : 1", "has a key that is not a word; remove it"},
    };
    for (const OneProblem& each : cases) {
        SCOPED_TRACE(each.pipeline_line);
        const auto found = problems_of(parse(with_pipeline(each.pipeline_line)));
        EXPECT_THAT(found, ElementsAre(HasSubstr(each.problem)));
    }
    EXPECT_THAT(problems_of(parse(with_pipeline(""))), IsEmpty());
}

TEST(Config, ChecksTheConnectionAsAWhole) {
    const auto check = [](const std::string& connection) {
        return problems_of(parse("pipeline:\n  id: 1\n  publication_name: p\n  pg_connection: " +
                                 connection + "\ndestination: {blackhole: {}}\n"));
    };
    EXPECT_THAT(check("{host: h, name: d, username: u}"), IsEmpty());
    EXPECT_THAT(check("{host: h, username: u}"),
                ElementsAre("walbrook.yaml:4: pipeline.pg_connection.name: is required where there "
                            "is no url"));
    EXPECT_THAT(check("{host: h, user: u, database: d}"),
                ElementsAre(HasSubstr("user: there is no such key; did you mean username?"),
                            HasSubstr("database: there is no such key; did you mean name?"),
                            HasSubstr("name: is required"), HasSubstr("username: is required")));
    EXPECT_THAT(check("{url: 'mysql://h/d'}"),
                ElementsAre(HasSubstr("url: must begin with postgres://")));
    EXPECT_THAT(check("{url: 'postgres://h/d', tls: {client_cert: c}}"),
                ElementsAre(HasSubstr("tls.client_key: is required beside client_cert")));
    EXPECT_THAT(check("{url: 'postgres://h/d', tls: {mode: verify}}"),
                ElementsAre(HasSubstr("must be one of disable, allow")));
    EXPECT_THAT(check("{url: 'postgres://h/d', sslmode: require}"),
                ElementsAre(HasSubstr("did you mean tls.mode?")));
}

TEST(Config, TheStoreConnectionObeysTheSameRules) {
    const auto check = [](const std::string& connection) {
        return problems_of(
            parse(with_pipeline("store: {type: postgres}\n  store_pg_connection: " + connection)));
    };
    EXPECT_THAT(check("{url: 'postgres://h/d'}"), IsEmpty());
    EXPECT_THAT(check("{}"),
                ElementsAre(HasSubstr("6: pipeline.store_pg_connection: is required; give url")));
    EXPECT_THAT(check("{url: x}"), ElementsAre(HasSubstr("must begin with postgres://")));
}

TEST(Config, CertificatesMakeTheServerVerified) {
    const auto load = [](const std::string& connection) {
        return parse(
            with_pipeline("store: {type: postgres}\n  store_pg_connection: " + connection));
    };
    const auto mode = [&](const std::string& connection) {
        const LoadedConfig loaded = load(connection);
        EXPECT_THAT(problems_of(loaded), IsEmpty());
        return loaded.config.store_pg_connection->tls.mode;
    };
    EXPECT_EQ(mode("{url: 'postgres://h/d'}"), "prefer");
    EXPECT_EQ(mode("{url: 'postgres://h/d', tls: {trusted_root_certs: r}}"), "verify-full");
    EXPECT_EQ(mode("{url: 'postgres://h/d', tls: {client_cert: c, client_key: k}}"), "verify-full");
    EXPECT_EQ(mode("{url: 'postgres://h/d', tls: {mode: require, trusted_root_certs: r}}"),
              "require");
    // The url's own word counts, unless tls.mode says another.
    EXPECT_EQ(mode("{url: 'postgres://h/d?sslmode=verify-ca', tls: {trusted_root_certs: r}}"),
              "verify-ca");
    EXPECT_EQ(mode("{url: 'postgres://u:sslmode=disable@h/d', tls: {trusted_root_certs: r}}"),
              "verify-full");
    EXPECT_EQ(mode("{url: 'postgres://h/d?sslmode=disable', tls: {mode: verify-full, "
                   "trusted_root_certs: r}}"),
              "verify-full");
    EXPECT_EQ(mode("{url: 'postgres://h/d?sslmode=disable'}"), "disable");
    for (const char* blind : {"disable", "allow", "prefer"}) {
        EXPECT_THAT(
            problems_of(load(fmt::format(
                "{{url: 'postgres://h/d', tls: {{mode: {}, trusted_root_certs: r}}}}", blind))),
            ElementsAre(HasSubstr("use verify-full")));
        EXPECT_THAT(
            problems_of(load(fmt::format(
                "{{url: 'postgres://h/d?sslmode={}', tls: {{trusted_root_certs: r}}}}", blind))),
            ElementsAre(HasSubstr(fmt::format("tls.trusted_root_certs: has no effect with the "
                                              "url's sslmode {}; use verify-full",
                                              blind))));
    }
    EXPECT_THAT(problems_of(load("{url: 'postgres://h/d?sslmode=disable', tls: {mode: prefer}}")),
                ElementsAre(HasSubstr("tls.mode: prefer stands beside another sslmode")));
    const auto unknown = problems_of(load("{url: 'postgres://h/d?sslmode=hunter2'}"));
    EXPECT_THAT(unknown, ElementsAre(HasSubstr("url: its sslmode must be one of disable, allow")));
    EXPECT_THAT(unknown, ElementsAre(::testing::Not(HasSubstr("hunter2"))));
}

TEST(Config, TheAddressToListenOnMustBeOne) {
    const auto check = [](const std::string& listen) {
        return problems_of(parse(with_pipeline("") + "server: {listen: " + listen + "}"));
    };
    for (const char* good : {"off", "127.0.0.1:9090", "'[::1]:80'", "localhost:0"}) {
        EXPECT_THAT(check(good), IsEmpty());
    }
    EXPECT_THAT(check("9090"), ElementsAre("walbrook.yaml:6: server.listen: must be host:port, "
                                           "[address]:port or off, not \"9090\""));
}

TEST(Config, ComparisonsNeedASchedule) {
    const auto check = [](const std::string& keys, const std::string& catalog = "a") {
        return problems_of(
            parse("pipeline: {id: 1, publication_name: p, pg_connection: {url: 'postgres://h/d'}}\n"
                  "destination: {ducklake: {catalog: '" +
                  catalog + "', data_path: b}}\nverify: {" + keys + "}"));
    };
    EXPECT_THAT(check("schedule: off"), IsEmpty());
    EXPECT_THAT(check("schedule: off", "duckdb:a"), IsEmpty());
    EXPECT_THAT(check("schedule: '24h'", "duckdb:a"),
                ElementsAre(HasSubstr("verify.schedule: destination.ducklake.catalog: a DuckDB "
                                      "file can be opened by one process alone")));
    EXPECT_THAT(check("schedule: '24h', repair: on"), IsEmpty());
    EXPECT_THAT(check("schedule: '30 3 * * 0'"), IsEmpty());
    EXPECT_THAT(check("schedule: daily"),
                ElementsAre(HasSubstr("3: verify.schedule: must be off, an interval as 24h")));
    EXPECT_THAT(
        check("repair: on, tables: [a.b], schedule: off"),
        ElementsAre(HasSubstr("verify.tables: has no effect without verify.schedule; remove it"),
                    HasSubstr("verify.repair: has no effect without verify.schedule; remove it")));
    EXPECT_THAT(problems_of(parse(with_pipeline("") + "verify: {schedule: 24h}")),
                ElementsAre(HasSubstr("6: verify.schedule: has no effect with this destination")));
}

TEST(Config, WhatOthersCanReachAsksForATokenAndIsEncrypted) {
    const auto check = [](const std::string& server) {
        return problems_of(parse(with_pipeline("") + "server: {" + server + "}"));
    };
    const std::string token = "token: 0123456789abcdef";
    const std::string tls = "tls: {cert: a, key: b}";
    for (const char* open : {"'0.0.0.0:9'", "'[::]:9'", "10.0.0.1:9", "metrics.example:9",
                             "'[::ffff:127.0.0.1]:9'", "127.0.0.1.example:9", "128.0.0.1:9"}) {
        const std::string listen = fmt::format("listen: {}", open);
        EXPECT_THAT(check(listen),
                    ElementsAre(HasSubstr("server.listen: other machines can reach this address, "
                                          "so it needs server.token_file, server.tls.cert and "
                                          "server.tls.key; or listen on 127.0.0.1")));
        EXPECT_THAT(check(listen + ", " + token),
                    ElementsAre(HasSubstr("so it needs server.tls.cert and server.tls.key;")));
        EXPECT_THAT(check(listen + ", " + tls),
                    ElementsAre(HasSubstr("so it needs server.token_file;")));
        EXPECT_THAT(check(listen + ", " + token + ", " + tls), IsEmpty());
    }
    for (const char* own : {"127.1.2.3:9", "'[::1]:9'", "localhost:9"}) {
        EXPECT_THAT(check(fmt::format("listen: {}", own)), IsEmpty());
        EXPECT_THAT(check(fmt::format("listen: {}, {}", own, token)), IsEmpty());
        EXPECT_THAT(check(fmt::format("listen: {}, {}", own, tls)), IsEmpty());
    }
    EXPECT_THAT(check("tls: {cert: a}"), ElementsAre(HasSubstr("needs server.tls.key, too")));
    EXPECT_THAT(check("tls: {key: a}"), ElementsAre(HasSubstr("needs server.tls.cert, too")));
    EXPECT_THAT(check("listen: off, " + token), ElementsAre(HasSubstr("has no effect")));
    for (const char* bad : {"fifteen-letters", "'two words are not one'", "sechzehn-Zeichen-ä"}) {
        const auto problems = check(fmt::format("token: {}", bad));
        EXPECT_THAT(problems, ElementsAre(HasSubstr("must have 16 characters or more")));
        EXPECT_THAT(problems, testing::Not(testing::Contains(HasSubstr(bad))));
    }
}

TEST(Config, TakesExactlyOneDestination) {
    const auto check = [](const std::string& destination) {
        const LoadedConfig loaded = parse(
            "pipeline: {id: 1, publication_name: p, pg_connection: {url: 'postgres://h/d'}}\n" +
            destination);
        return problems_of(loaded);
    };
    EXPECT_THAT(check("destination: {blackhole: {}}"), IsEmpty());
    EXPECT_THAT(check("destination: {blackhole: }"), IsEmpty());
    EXPECT_THAT(check("destination: {}"), ElementsAre(HasSubstr("2: destination: is required")));
    EXPECT_THAT(check("destination: {iceberg: {}}"),
                ElementsAre(HasSubstr("2: destination.iceberg: is not supported yet")));
    EXPECT_THAT(check("destination: {duckdb: {}}"), testing::Contains(HasSubstr("no such key")));
    EXPECT_THAT(check("destination: {blackhole: {}, ducklake: {catalog: a, data_path: b}}"),
                testing::Contains(HasSubstr("names ducklake and blackhole; keep exactly one")));
}

TEST(Config, EnvironmentWinsAndItsTextIsTheValue) {
    const LoadedConfig loaded =
        parse(kContract, {"WALBROOK__PIPELINE__ID=7",
                          "WALBROOK__PIPELINE__PG_CONNECTION__PASSWORD=a: ${b} #'c",
                          "WALBROOK__PIPELINE__TABLE_SYNC_COPY__TYPE=include_tables",
                          "WALBROOK__PIPELINE__TABLE_SYNC_COPY__TABLES=[public.a, \"b.*\"]",
                          "WALBROOK__PIPELINE__MEMORY_BACKPRESSURE=null", "WALBROOK_OTHER=1"});
    EXPECT_THAT(problems_of(loaded), IsEmpty());
    EXPECT_EQ(loaded.config.pipeline.id, 7U);
    EXPECT_EQ(loaded.config.pipeline.pg_connection.password, "a: ${b} #'c");
    EXPECT_THAT(loaded.config.pipeline.table_sync_copy.tables, ElementsAre("public.a", "b.*"));
    EXPECT_FALSE(loaded.config.pipeline.memory_backpressure);
}

TEST(Config, EnvironmentAloneIsEnough) {
    const LoadedConfig loaded =
        load_config("", {"WALBROOK__PIPELINE__ID=7", "WALBROOK__PIPELINE__PUBLICATION_NAME=p",
                         "WALBROOK__PIPELINE__PG_CONNECTION__URL=postgres://h/d",
                         "WALBROOK__DESTINATION__BLACKHOLE={}", "WALBROOK__PIPELINE__WORK_DIR=w"});
    EXPECT_THAT(problems_of(loaded), IsEmpty());
    EXPECT_EQ(loaded.config.pipeline.work_dir, (std::filesystem::current_path() / "w").string());
}

TEST(Config, UnknownVariablesAreErrorsToo) {
    EXPECT_THAT(
        problems_of(parse(kContract,
                          {"WALBROOK__PIPELINE__BACH__MAX_FILL_MS=1", "WALBROOK__PIPELINE__BATCH=1",
                           "WALBROOK__DESTINATION__KAFKA=1", "WALBROOK__LOG__LEVL=debug"})),
        ElementsAre(HasSubstr("environment WALBROOK__PIPELINE__BACH__MAX_FILL_MS: "
                              "pipeline.bach.max_fill_ms: there is no such key"),
                    HasSubstr("pipeline.batch: is a map; set its keys one by one, for "
                              "example WALBROOK__PIPELINE__BATCH__MAX_FILL_MS"),
                    HasSubstr("destination.kafka: is not supported yet; unset it"),
                    HasSubstr("log.levl: there is no such key; did you mean level?")));
}

TEST(Config, VariablesAreReplacedInsideValues) {
    const auto work_dir = [](const std::string& text, const Environment& environment) {
        const LoadedConfig loaded = parse(with_pipeline("work_dir: \"" + text + "\""), environment);
        EXPECT_THAT(problems_of(loaded), IsEmpty());
        return loaded.config.pipeline.work_dir;
    };
    EXPECT_EQ(work_dir("/a/${X}/${Y}", {"X=1", "Y=2"}), "/a/1/2");
    EXPECT_EQ(work_dir("/a/${X:-d}", {}), "/a/d");
    EXPECT_EQ(work_dir("/a/${X:-d}", {"X="}), "/a/d");
    EXPECT_EQ(work_dir("/a/$${X}", {"X=1"}), "/a/${X}");
    EXPECT_EQ(work_dir("/a/$X", {"X=1"}), "/a/$X");
    // What comes out of a variable is text: neither YAML nor another reference.
    EXPECT_EQ(work_dir("/${X}", {"X=${Y}: [1"}), "/${Y}: [1");
    EXPECT_EQ(parse(with_pipeline("batch: {max_fill_ms: \"${MS}\"}"), {"MS=42"})
                  .config.pipeline.batch.max_fill_ms,
              42U);
}

class SecretFile : public testing::Test {
 protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "walbrook.XXXXXX").string();
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        folder_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }
    void write(const std::string& name, const std::string& text) const {
        std::ofstream(folder_ + "/" + name) << text;
    }
    std::string folder_;
};

TEST_F(SecretFile, GivesTheSecretWithoutItsNewline) {
    write("pg", "hunter2\n");
    const auto load = [&](const std::string& line) {
        return parse_config(
            "pipeline:\n  id: 1\n  publication_name: p\n  pg_connection: {host: h, "
            "name: d, username: u, " +
                line + "}\ndestination: {blackhole: {}}\n",
            "walbrook.yaml", folder_, {});
    };
    const LoadedConfig loaded = load("password_file: pg");
    EXPECT_THAT(problems_of(loaded), IsEmpty());
    EXPECT_EQ(loaded.config.pipeline.pg_connection.password, "hunter2");
    EXPECT_THAT(
        problems_of(load("password_file: none")),
        ElementsAre(HasSubstr("walbrook.yaml:4: pipeline.pg_connection.password_file: names " +
                              folder_ + "/none, which is empty or cannot be read")));
    EXPECT_THAT(problems_of(load("password_file: pg, password: x")),
                ElementsAre(HasSubstr("stands beside pipeline.pg_connection.password")));
    EXPECT_THAT(problems_of(load("host_file: pg")),
                ElementsAre(HasSubstr("host_file: there is no such key")));
    write("big", std::string(70'000, 'x'));
    EXPECT_THAT(problems_of(load("password_file: big")), ElementsAre(HasSubstr("is too large")));
}

TEST_F(SecretFile, MayHoldTheWholeUrl) {
    write("url", "postgres://u:hunter2@h/d\n");
    const LoadedConfig loaded = parse_config(
        "pipeline: {id: 1, publication_name: p, pg_connection: {url_file: url}}\n"
        "destination: {blackhole: {}}",
        "walbrook.yaml", folder_, {});
    EXPECT_THAT(problems_of(loaded), IsEmpty());
    EXPECT_EQ(loaded.config.pipeline.pg_connection.url, "postgres://u:hunter2@h/d");
    write("url", "hunter2");
    const auto problems = problems_of(
        parse_config("pipeline: {id: 1, publication_name: p, pg_connection: {url_file: url}}\n"
                     "destination: {blackhole: {}}",
                     "walbrook.yaml", folder_, {}));
    EXPECT_THAT(problems, ElementsAre(Not(HasSubstr("hunter2"))));
}

TEST(Config, AFileThatIsNoConfigurationIsRefusedClearly) {
    const auto problem = [](std::string_view text) {
        const auto found = problems_of(parse(text));
        return found.empty() ? std::string() : found[0];
    };
    EXPECT_THAT(problem(""), HasSubstr("walbrook.yaml: is empty"));
    EXPECT_THAT(problem("# nothing"), HasSubstr("is empty"));
    EXPECT_THAT(problem("- a\n- b"), HasSubstr("must be a map of keys"));
    EXPECT_THAT(problem("pipeline: {id: 1"), HasSubstr("is not valid YAML"));
    EXPECT_THAT(problem("pipeline:\n  id: 1\n bad: 2"), HasSubstr("walbrook.yaml:3: is not valid"));
    EXPECT_THAT(problem("a: 1\n---\nb: 2"), HasSubstr("second document"));
    EXPECT_THAT(problem("a: *nowhere"), HasSubstr("is not valid YAML"));
    EXPECT_THAT(problem(std::string(2 << 20, ' ')), HasSubstr("is larger than"));
    EXPECT_THAT(problems_of(load_config("/nonexistent/walbrook.yaml", {})),
                ElementsAre(HasSubstr("cannot be read (No such file or directory)")));
    EXPECT_THAT(problems_of(load_config("/tmp", {})), ElementsAre(HasSubstr("is a folder")));
}

// A configuration file is short and hand written, but no bytes may crash the program.
TEST(Config, SurvivesEveryTruncationAndFlippedBytes) {
    for (std::size_t n = 0; n < kContract.size(); ++n) {
        parse(kContract.substr(0, n));
        for (const char flip : {'\x01', '\x20', '\x80'}) {
            std::string changed(kContract);
            changed[n] = static_cast<char>(changed[n] ^ flip);
            parse(changed);
        }
    }
    parse(std::string(100'000, '['));
    parse(std::string(100'000, '{'));
}

// yaml-cpp finds empty documents there without end.
TEST(Config, WhatNoValueBeginsWithIsAProblemOfItsLine) {
    for (const char* text : {", pipeline: {id: 1}", "\n], a: b", "}", "a: 1\n---\n, b"}) {
        EXPECT_THAT(problems_of(parse(text)), Contains(HasSubstr("walbrook.yaml:"))) << text;
    }
}

TEST(ConfigShow, PrintsOriginsAndHidesSecrets) {
    const std::string shown = config_as_yaml(
        parse("pipeline:\n  id: 1\n  publication_name: p\n  pg_connection: {url: "
              "'postgres://u:hunter2@h/d', password: hunter2}\n  memory_backpressure: null\n"
              "destination: {blackhole: {}}\n",
              {"WALBROOK__LOG__LEVEL=debug"}));
    EXPECT_THAT(shown, Not(HasSubstr("hunter2")));
    EXPECT_THAT(shown, HasSubstr("url: \"postgres://u:***@h/d\""));
    EXPECT_THAT(shown, HasSubstr("password: \"***\""));
    EXPECT_THAT(shown, HasSubstr("memory_backpressure: null"));
    EXPECT_THAT(config_as_yaml(parse("server: {token: 'hunter2-and-more-of-it', tls: {key: "
                                     "'-----BEGIN hunter2'}}")),
                Not(HasSubstr("hunter2")));
    EXPECT_THAT(shown, HasSubstr("# environment WALBROOK__LOG__LEVEL"));
    EXPECT_THAT(shown, HasSubstr("# walbrook.yaml:2"));
    EXPECT_THAT(shown, HasSubstr("# default"));
}

// What `config show` prints is a configuration again, with the same effect.
TEST(ConfigShow, CanBeReadBack) {
    const LoadedConfig first = parse(kContract);
    const std::string shown = config_as_yaml(first);
    const LoadedConfig second = parse(shown);
    EXPECT_THAT(problems_of(second), IsEmpty());
    LoadedConfig without_origins = second;
    for (auto& [key, origin] : without_origins.origins) origin = "x";
    const std::string again = config_as_yaml(second);
    const auto values = [](const std::string& text) {
        std::istringstream in(text);
        std::string out;
        for (std::string line; std::getline(in, line);) {
            line = line.substr(0, line.find("  #"));
            out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
        }
        return out;
    };
    EXPECT_EQ(values(shown), values(again));
}

TEST(ConfigSchema, HasEveryKeyAndNothingElse) {
    const auto schema = nlohmann::json::parse(config_as_json_schema());
    EXPECT_EQ(schema.at("$schema"), "https://json-schema.org/draft/2020-12/schema");
    std::size_t leaves = 0;
    const std::function<void(const nlohmann::json&)> count = [&](const nlohmann::json& object) {
        EXPECT_EQ(object.at("additionalProperties"), false);
        if (!object.contains("properties")) return;
        for (const auto& [name, value] : object.at("properties").items()) {
            if (value.contains("additionalProperties")) {
                count(value);
            } else if (!name.ends_with("_file")) {
                ++leaves;
            }
        }
    };
    count(schema);
    EXPECT_EQ(leaves, config_keys().size());
    for (const Key& key : config_keys()) {
        nlohmann::json::json_pointer at;
        for (std::size_t from = 0, dot = 0; dot != std::string::npos; from = dot + 1) {
            dot = key.name.find('.', from);
            at /= "properties";
            at /= key.name.substr(from, dot - from);
        }
        ASSERT_TRUE(schema.contains(at)) << key.name;
        EXPECT_THAT(schema.at(at).at("description").get<std::string>(), HasSubstr(key.doc));
    }
}

TEST(ConfigDocs, AreCurrent) {
    std::ifstream file(WALBROOK_SOURCE_DIR "/docs/configuration.md");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    EXPECT_TRUE(text == config_as_markdown())
        << "docs/configuration.md is not what the program says; run `walbrook config docs > "
           "docs/configuration.md`";
}

TEST(Nearest, FindsTyposAndBeginningsOnly) {
    const std::vector<std::string> words = {"max_fill_ms", "max_bytes", "publication_name", "id"};
    EXPECT_EQ(nearest("max_fil_ms", words), "max_fill_ms");
    EXPECT_EQ(nearest("MAX_BYTES", words), "");
    EXPECT_EQ(nearest("publication", words), "publication_name");
    EXPECT_EQ(nearest("ie", words), "id");
    EXPECT_EQ(nearest("zzz", words), "");
    EXPECT_EQ(nearest("", words), "");
}

}  // namespace
}  // namespace walbrook
