#include "cli/config_print.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace walbrook {
namespace {

using Json = nlohmann::ordered_json;

std::vector<std::string> split(std::string_view name) {
    std::vector<std::string> parts;
    for (std::size_t from = 0;;) {
        const std::size_t dot = name.find('.', from);
        parts.emplace_back(name.substr(from, dot - from));
        if (dot == std::string_view::npos) return parts;
        from = dot + 1;
    }
}

// Writes nested maps from keys that come in the order of their sections.
class YamlWriter {
 public:
    void add(const std::string& key, const std::string& value, const std::string& origin) {
        const std::vector<std::string> parts = split(key);
        std::size_t same = 0;
        while (same + 1 < parts.size() && same < open_.size() && open_[same] == parts[same]) ++same;
        open_.assign(parts.begin(), parts.end() - 1);
        for (std::size_t i = same; i < open_.size(); ++i) {
            out_ += fmt::format("{:{}}{}:\n", "", 2 * i, open_[i]);
        }
        const std::string line =
            fmt::format("{:{}}{}: {}", "", 2 * open_.size(), parts.back(), value);
        out_ += fmt::format("{:<52}  # {}\n", line, origin);
    }
    std::string take() { return std::move(out_); }

 private:
    std::vector<std::string> open_;
    std::string out_;
};

// What the value of a key may be, for the schema. A ${VAR} may stand for any number.
Json schema_of(const Key& key) {
    const auto or_variable = [](Json type) {
        return Json{
            {"anyOf", {std::move(type), {{"type", "string"}, {"pattern", "\\$\\{[^}]+\\}"}}}}};
    };
    Json out;
    if (!key.choices.empty()) {
        Json choices = Json::array();
        for (const std::string_view choice : key.choices) choices.push_back(choice);
        out = {{"enum", std::move(choices)}};
    } else if (std::holds_alternative<PlaceOf<double>>(key.place)) {
        out = or_variable({{"type", "number"}, {"exclusiveMinimum", 0}, {"maximum", 1}});
    } else if (std::holds_alternative<PlaceOf<std::string>>(key.place)) {
        out = {{"type", {"string", "number", "boolean"}}};
        if (key.secrecy == Secrecy::none) out = {{"type", "string"}};
    } else if (std::holds_alternative<PlaceOf<std::vector<std::string>>>(key.place)) {
        out = {{"type", "array"}, {"items", {{"type", "string"}}}};
    } else {
        out = or_variable({{"type", "integer"}, {"minimum", key.min}, {"maximum", key.max}});
    }
    out["description"] = key.doc;
    const std::string value = printed_default(key);
    if (!key.required && !value.empty()) out["description"] = key.doc + " Default: " + value + ".";
    return out;
}

Json& schema_object_at(Json& root, const std::vector<std::string>& parts) {
    Json* at = &root;
    std::string section;
    for (const std::string& part : parts) {
        section += section.empty() ? part : "." + part;
        Json& next = (*at)["properties"][part];
        if (next.is_null()) {
            const Section* row = find_section(section);
            next = {{"type", "object"}, {"additionalProperties", false}};
            if (row != nullptr && row->none) next["type"] = {"object", "null"};
            if (row != nullptr) next["description"] = row->doc;
        }
        at = &next;
    }
    return *at;
}

std::string escaped_cell(std::string text) {
    for (std::size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) {
        text.insert(at, "\\");
    }
    return text;
}

constexpr std::string_view kMarkdownHead = R"(# Configuration

<!-- Made by `walbrook config docs` from the table of keys in src/cli/config_keys.cc. -->

One YAML file, `walbrook.yaml`, or another given with `--config`:

```yaml
pipeline:
  id: 1
  publication_name: shop
  pg_connection: {url: "postgres://walbrook@db.example:5432/shop", password: "${PGPASSWORD}"}
destination:
  ducklake: {catalog: "lake/catalog.sqlite", data_path: "lake/data"}
```

- Relative paths are relative to the file.
- `${NAME}` in a value is replaced by that environment variable, `${NAME:-text}` has a default,
  and `$${` stands for `${` itself.
- Any key can be set, or overridden, by an environment variable: `WALBROOK__`, then the key in
  capitals with two underscores for each dot. `WALBROOK__PIPELINE__ID=7` sets `pipeline.id`. The
  text is the value as it is; lists are written `[a, b]`.
- A secret can be read from a file: `password_file: /run/secrets/pg` in place of `password`.
  Keys that have this form are marked.
- Unknown keys are errors, and so are keys that would do nothing. All problems are reported at
  once, with file and line, and the program ends with code 78.
- `walbrook config show` prints what is in effect and where each value came from, without
  secrets. `walbrook config schema` prints a JSON Schema for editors.

)";

constexpr std::string_view kMarkdownTail = R"(## Exit codes

| code | meaning |
|---|---|
| 0 | done; also after SIGTERM with a clean drain |
| 1 | `verify`: something differs, also when an error or a stop came later |
| 64 | the command line is wrong |
| 65 | `run --until-caught-up`: some tables are errored; `verify`: some, or all, not compared |
| 69 | source, destination or the running pipeline cannot be reached (within `--timeout`) |
| 70 | stopped by an error that needs a person; the message says what to do |
| 75 | another process runs this pipeline, or compares; `verify` was stopped; try again |
| 77 | the source or the destination refused permission |
| 78 | the configuration is wrong |

The first SIGTERM or SIGINT drains and stops; the second stops at once. Stopping at once, like a
crash, loses nothing: the next start goes on from what the destination holds.
)";

}  // namespace

std::string config_as_yaml(LoadedConfig loaded) {
    YamlWriter writer;
    std::string off;
    const auto from = [&](const std::string& name) {
        const auto found = loaded.origins.find(name);
        return found == loaded.origins.end() ? std::string("default") : found->second;
    };
    for (const Key& key : config_keys()) {
        const std::string section = key.name.substr(0, key.name.rfind('.'));
        const bool of_store = key.name.starts_with("pipeline.store_pg_connection.");
        if (of_store && !loaded.config.store_pg_connection) continue;
        if (key.name.starts_with("destination.ducklake.") &&
            loaded.config.destination != DestinationKind::ducklake) {
            continue;
        }
        if (section == "pipeline.memory_backpressure" &&
            !loaded.config.pipeline.memory_backpressure) {
            if (off != section) writer.add(section, "null", from(section));
            off = section;
            continue;
        }
        const std::string value = printed_value(key, loaded.config);
        if (!value.empty()) writer.add(key.name, value, from(key.name));
    }
    if (loaded.config.destination == DestinationKind::blackhole) {
        writer.add("destination.blackhole", "{}", from("destination.blackhole"));
    }
    return writer.take();
}

std::string config_as_json_schema() {
    Json root = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                 {"title", "walbrook.yaml"},
                 {"type", "object"},
                 {"additionalProperties", false},
                 {"required", {"pipeline", "destination"}}};
    for (const Key& key : config_keys()) {
        std::vector<std::string> parts = split(key.name);
        const std::string last = parts.back();
        parts.pop_back();
        Json& object = schema_object_at(root, parts);
        object["properties"][last] = schema_of(key);
        if (key.required) object["required"].push_back(last);
        if (key.secrecy != Secrecy::none) {
            object["properties"][last + "_file"] = {
                {"type", "string"}, {"description", "A file that holds " + last + "."}};
        }
    }
    for (const Section& section : config_sections()) schema_object_at(root, split(section.name));
    root["properties"]["pipeline"]["required"].push_back("pg_connection");
    root["properties"]["destination"]["minProperties"] = 1;
    root["properties"]["destination"]["maxProperties"] = 1;
    return root.dump(2) + "\n";
}

std::string config_as_markdown() {
    std::string out(kMarkdownHead);
    std::string shown;
    for (const Key& key : config_keys()) {
        const std::size_t dot = key.name.find('.');
        std::string group = key.name.substr(0, dot);
        if (dot == std::string::npos) group = "config_version";
        if (group == "destination") group = key.name.substr(0, key.name.rfind('.'));
        if (key.name.starts_with("pipeline.store_pg_connection.")) continue;
        if (group != shown) {
            if (shown == "pipeline") {
                out +=
                    "\n`pipeline.store_pg_connection.*` has the same keys as "
                    "`pipeline.pg_connection.*`: the database of the postgres store, if it is "
                    "not the source.\n`pipeline.memory_backpressure: null` turns backpressure "
                    "off.\n";
            }
            if (shown == "destination.ducklake") {
                out += fmt::format("\n## `destination.blackhole`\n\n{}\n",
                                   find_section("destination.blackhole")->doc);
            }
            out += fmt::format("{}## `{}`\n\n", shown.empty() ? "" : "\n", group);
            if (const Section* section = find_section(group))
                out.append(section->doc).append("\n\n");
            out += "| key | default | values | effect |\n|---|---|---|---|\n";
            shown = group;
        }
        std::string fallback = printed_default(key);
        if (!key.required && !fallback.empty()) fallback = fmt::format("`{}`", fallback);
        out += fmt::format("| `{}` | {} | {} | {}{} |\n", key.name, escaped_cell(fallback),
                           escaped_cell(expectation(key)), escaped_cell(key.doc),
                           key.secrecy == Secrecy::none ? "" : " Also as `…_file`.");
    }
    std::vector<std::string> planned;
    for (const PlannedKey& key : planned_keys()) planned.push_back(fmt::format("`{}`", key.name));
    out += fmt::format("\n## Not supported yet\n\nRefused rather than ignored: {}.\n\n",
                       fmt::join(planned, ", "));
    return out + std::string(kMarkdownTail);
}

}  // namespace walbrook
