#include "cli/config_load.h"

#include "cli/schedule.h"
#include "postgres/connect_options.h"
#include "server/control_server.h"
#ifdef WALBROOK_WITH_DUCKLAKE
#include "verify/verify.h"
#endif

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

extern char** environ;

namespace walbrook {
namespace {

constexpr std::size_t kFileBytesMax = 1 << 20;
constexpr std::size_t kSecretBytesMax = 64 << 10;
constexpr std::size_t kTokenBytesMin = 16;
constexpr std::string_view kVariablePrefix = "WALBROOK__";

// A value as it was written, before anybody asked what it means.
struct RawValue {
    std::string where;
    std::vector<std::string> items;  // One, unless it is a list.
    bool is_list = false;
    bool is_null = false;
};

// What file and environment say, key by key; sections only where somebody wrote them.
struct RawConfig {
    std::map<std::string, RawValue> values;
    std::map<std::string, RawValue> sections;
};

std::string join_key(std::string_view section, std::string_view name) {
    return section.empty() ? std::string(name) : fmt::format("{}.{}", section, name);
}

// WALBROOK__PIPELINE__ID for pipeline.id.
std::string variable_for(std::string_view key) {
    std::string name(kVariablePrefix);
    for (const char c : key) {
        if (c == '.') {
            name += "__";
        } else {
            name += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
        }
    }
    return name;
}

// What may be repeated of a name that is not known: in `{password:secret}`, where a space is
// missing, all of it is one.
std::string printable_name(const std::string& name) {
    const auto is_of_name = [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
    };
    const auto end = std::find_if_not(name.begin(), name.end(), is_of_name);
    return std::string(name.begin(), end) + (end == name.end() ? "" : "…");
}

bool is_variable_name(std::string_view name) {
    return !name.empty() && std::isdigit(static_cast<unsigned char>(name[0])) == 0 &&
           std::all_of(name.begin(), name.end(),
                       [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; });
}

// Words that people bring from elsewhere and that no spelling distance finds.
std::string foreign_word(std::string_view name) {
    if (name == "database" || name == "dbname" || name == "db") return "name";
    if (name == "sslmode") return "tls.mode";
    if (name == "sslrootcert") return "tls.trusted_root_certs";
    if (name == "connection" || name == "source") return "pg_connection";
    if (name == "sink" || name == "target") return "destination";
    return "";
}

std::string unknown_key_text(const std::string& key, const std::string& section,
                             const std::string& name) {
    const std::vector<std::string> known = names_below(section);
    std::string guess = foreign_word(name);
    if (guess.empty() ||
        (!is_section(join_key(section, guess)) && find_key(join_key(section, guess)) == nullptr)) {
        guess = nearest(name, known);
    }
    if (!guess.empty()) return fmt::format("there is no such key; did you mean {}?", guess);
    // The right word in the wrong place.
    for (const Key& row : config_keys()) {
        if (row.name != key && row.name.ends_with("." + name)) {
            return fmt::format("there is no such key here; did you mean {}?", row.name);
        }
    }
    for (const Section& row : config_sections()) {
        if (row.name.ends_with("." + name)) {
            return fmt::format("there is no such key here; did you mean {}?", row.name);
        }
    }
    return fmt::format("there is no such key; known here: {}", fmt::join(known, ", "));
}

// Reads and gathers; one object for one load, so that problems pile up in one place.
class Loader {
 public:
    Loader(std::string name, std::string folder, const Environment& environment)
        : name_(std::move(name)), folder_(std::move(folder)), environment_(environment) {}

    void read_yaml(std::string_view text);
    void read_environment();
    void problem(std::string key, std::string where, std::string text) {
        out_.problems.push_back({std::move(key), std::move(where), std::move(text)});
    }
    LoadedConfig finish();

 private:
    std::string where(const YAML::Mark& mark) const {
        return mark.is_null() ? name_ : fmt::format("{}:{}", name_, mark.line + 1);
    }
    std::optional<std::string> variable(std::string_view name) const;
    // Replaces ${NAME} and ${NAME:-default}; `$${` stands for `${`.
    std::string expand(const std::string& key, const std::string& where, const std::string& text);
    void read_map(const YAML::Node& node, const std::string& section);
    void read_entry(const YAML::Node& name, const YAML::Node& value, const std::string& section);
    void read_value(const YAML::Node& value, const std::string& key, const std::string& at);
    void read_variable(std::string_view variable_name, const std::string& text);
    void read_secret_files();
    void apply_sections();
    void apply_values();
    bool apply_text(const Key& key, const RawValue& raw, const PlaceOf<std::string>& at);
    template <class T>
    bool apply_number(const Key& key, const RawValue& raw, const PlaceOf<T>& at);
    bool apply_ratio(const Key& key, const RawValue& raw, const PlaceOf<double>& at);
    bool apply_choice(const Key& key, const RawValue& raw, const ChoicePlace& at);
    bool must_be(const Key& key, const RawValue& raw);
    std::string resolve(const Key& key, const std::string& text) const;
    std::string absolute(const std::string& path) const;
    void fill_tls_mode(const std::string& section, PgConnectionConfig& connection);
    void fill_defaults();
    void check_whole();
    void check_destination();
    void check_store();
    void check_verify();
    void check_server();
    void add_library_problems(const std::vector<std::string>& found);
    std::string where_of(const std::string& key) const;

    const std::string name_;
    const std::string folder_;
    const Environment& environment_;
    RawConfig raw_;
    LoadedConfig out_;
};

std::optional<std::string> Loader::variable(std::string_view name) const {
    for (const std::string& entry : environment_) {
        if (entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=') {
            return entry.substr(name.size() + 1);
        }
    }
    return std::nullopt;
}

std::string Loader::expand(const std::string& key, const std::string& at, const std::string& text) {
    std::string out;
    std::size_t from = 0;
    for (;;) {
        const std::size_t dollar = text.find("${", from);
        if (dollar == std::string::npos) return out + text.substr(from);
        if (dollar > 0 && text[dollar - 1] == '$' && dollar - 1 >= from) {
            out += text.substr(from, dollar - 1 - from) + "${";
            from = dollar + 2;
            continue;
        }
        out += text.substr(from, dollar - from);
        const std::size_t end = text.find('}', dollar);
        if (end == std::string::npos) {
            problem(key, at, "${ has no closing }; write $${ for the two characters themselves");
            return out;
        }
        const std::string inside = text.substr(dollar + 2, end - dollar - 2);
        const std::size_t colon = inside.find(":-");
        const std::string name = inside.substr(0, colon);
        const std::optional<std::string> value = variable(name);
        if (value && !(value->empty() && colon != std::string::npos)) {
            out += *value;
        } else if (colon != std::string::npos) {
            out += inside.substr(colon + 2);
        } else if (!is_variable_name(name)) {
            // It may be part of a password.
            problem(key, at,
                    "${…} does not name an environment variable; write $${ for the two characters "
                    "themselves");
        } else {
            problem(key, at,
                    fmt::format("the environment variable {} is not set; set it, or write "
                                "${{{}:-value}} to give a default",
                                name, name));
        }
        from = end + 1;
    }
}

// Of the first two. YAML::LoadAll() would not do: before what no value can begin with (a comma)
// yaml-cpp 0.7 finds one empty document after the other, for ever.
class Starts final : public YAML::EventHandler {
 public:
    std::vector<YAML::Mark> found;

    void OnDocumentStart(const YAML::Mark& mark) override { found.push_back(mark); }
    void OnDocumentEnd() override {}
    void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
    void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
    void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  const std::string&) override {}
    void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                         YAML::EmitterStyle::value) override {}
    void OnSequenceEnd() override {}
    void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                    YAML::EmitterStyle::value) override {}
    void OnMapEnd() override {}
};

std::vector<YAML::Mark> starts_of_documents(const std::string& text) {
    std::istringstream in(text);
    YAML::Parser parser(in);
    Starts starts;
    while (starts.found.size() < 2 && parser.HandleNextDocument(starts)) {
    }
    return starts.found;
}

void Loader::read_yaml(std::string_view text) {
    if (text.size() > kFileBytesMax) {
        problem(
            "", name_,
            fmt::format("is larger than {} bytes; that is no configuration file", kFileBytesMax));
        return;
    }
    try {
        const std::vector<YAML::Mark> starts = starts_of_documents(std::string(text));
        const YAML::Node document = YAML::Load(std::string(text));
        if (starts.size() > 1 && starts[0].pos == starts[1].pos) {
            problem("", where(starts[1]), "is not valid YAML: no value begins here; mend the line");
            return;
        }
        if (document.IsNull()) {
            problem("", name_, "is empty; it needs pipeline and destination");
            return;
        }
        if (starts.size() > 1) {
            problem("", where(starts[1]), "has a second document; only one may be there");
        }
        if (!document.IsMap()) {
            problem("", where(document.Mark()), "must be a map of keys, beginning with pipeline:");
            return;
        }
        read_map(document, "");
    } catch (const YAML::Exception& error) {
        // After a colon yaml-cpp repeats a piece of the file.
        problem("", where(error.mark),
                fmt::format("is not valid YAML: {}; mend the line",
                            error.msg.substr(0, error.msg.find(": "))));
    }
}

void Loader::read_map(const YAML::Node& node, const std::string& section) {
    std::set<std::string> seen;
    for (const auto& entry : node) {
        const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "";
        if (name.empty()) {
            problem(section, where(entry.first.Mark()), "has a key that is not a word; remove it");
        } else if (!seen.insert(name).second) {
            problem(join_key(section, printable_name(name)), where(entry.first.Mark()),
                    "stands here twice; remove one");
        } else {
            read_entry(entry.first, entry.second, section);
        }
    }
}

void Loader::read_entry(const YAML::Node& name, const YAML::Node& value,
                        const std::string& section) {
    const std::string key = join_key(section, name.Scalar());
    const std::string at = where(name.Mark());
    if (is_planned(key)) {
        problem(key, at, "is not supported yet; remove it");
    } else if (find_key(key) != nullptr || secret_of_file_key(key) != nullptr) {
        read_value(value, key, at);
    } else if (!is_section(key)) {
        const std::string printable = printable_name(name.Scalar());
        std::string text = unknown_key_text(key, section, printable);
        if (printable != name.Scalar()) text = "is not a key; does a space after a colon miss?";
        problem(join_key(section, printable), at, text);
    } else if (value.IsNull()) {
        raw_.sections[key] = {at, {}, false, true};
    } else if (value.IsMap()) {
        raw_.sections[key] = {at, {}, false, false};
        read_map(value, key);
    } else {
        problem(key, at,
                fmt::format("must be a map; write {}: {{…}} with keys from: {}", name.Scalar(),
                            fmt::join(names_below(key), ", ")));
    }
}

void Loader::read_value(const YAML::Node& value, const std::string& key, const std::string& at) {
    RawValue raw{at, {}, value.IsSequence(), value.IsNull()};
    if (value.IsMap()) {
        problem(key, at, fmt::format("must be a single value, not a map"));
        return;
    }
    if (value.IsSequence()) {
        for (const YAML::Node& item : value) {
            if (!item.IsScalar()) {
                problem(key, at, "must be a list of plain texts");
                return;
            }
            raw.items.push_back(expand(key, at, item.Scalar()));
        }
    } else if (value.IsScalar()) {
        const std::size_t before = out_.problems.size();
        raw.items.push_back(expand(key, at, value.Scalar()));
        if (out_.problems.size() != before) return;  // Half a value would only confuse.
    }
    raw_.values[key] = std::move(raw);
}

void Loader::read_environment() {
    for (const std::string& entry : environment_) {
        const std::size_t equals = entry.find('=');
        if (!entry.starts_with(kVariablePrefix) || equals == std::string::npos) continue;
        read_variable(std::string_view(entry).substr(0, equals), entry.substr(equals + 1));
    }
}

// The text of a variable is the value itself: nothing in it is YAML, so that every
// password can be given; only lists are written [a, b] or a,b.
void Loader::read_variable(std::string_view variable_name, const std::string& text) {
    const std::string at = fmt::format("environment {}", variable_name);
    std::string key;
    for (std::size_t i = kVariablePrefix.size(); i < variable_name.size(); ++i) {
        if (variable_name.substr(i).starts_with("__")) {
            key += '.';
            ++i;
        } else {
            key += static_cast<char>(std::tolower(static_cast<unsigned char>(variable_name[i])));
        }
    }
    const Key* row = find_key(key);
    if (is_planned(key)) {
        problem(key, at, "is not supported yet; unset it");
    } else if (row != nullptr || secret_of_file_key(key) != nullptr) {
        RawValue raw{at, {text}, false, false};
        if (row != nullptr &&
            std::holds_alternative<PlaceOf<std::vector<std::string>>>(row->place)) {
            raw.is_list = true;
            raw.items.clear();
            std::string inner = text;
            if (inner.starts_with('[') && inner.ends_with(']'))
                inner = inner.substr(1, inner.size() - 2);
            std::istringstream parts(inner);
            for (std::string part; std::getline(parts, part, ',');) {
                const std::size_t first = part.find_first_not_of(" \t\"'");
                if (first == std::string::npos) continue;
                raw.items.push_back(
                    part.substr(first, part.find_last_not_of(" \t\"'") - first + 1));
            }
        }
        raw_.values[key] = std::move(raw);
    } else if (is_section(key) && (text == "null" || text == "{}")) {
        raw_.sections[key] = {at, {}, false, text == "null"};
    } else if (is_section(key)) {
        const std::vector<std::string> names = names_below(key);
        problem(key, at,
                fmt::format("is a map; set its keys one by one, for example {}",
                            variable_for(names.empty() ? key : join_key(key, names[0]))));
    } else {
        const std::size_t dot = key.rfind('.');
        const std::string section = dot == std::string::npos ? "" : key.substr(0, dot);
        problem(key, at,
                unknown_key_text(key, is_section(section) ? section : "",
                                 dot == std::string::npos ? key : key.substr(dot + 1)));
    }
}

// Turns every `<secret>_file` into the secret.
void Loader::read_secret_files() {
    for (const Key& key : config_keys()) {
        const auto named = raw_.values.find(key.name + "_file");
        if (key.secrecy == Secrecy::none || named == raw_.values.end()) continue;
        const std::string file_key = key.name + "_file";
        const RawValue raw = named->second;
        raw_.values.erase(named);
        if (raw_.values.contains(key.name)) {
            problem(file_key, raw.where,
                    fmt::format("stands beside {}; keep one of them", key.name));
            continue;
        }
        if (raw.is_list || raw.is_null || raw.items[0].empty()) {
            problem(file_key, raw.where, "must be the path of a file");
            continue;
        }
        const std::string path = absolute(raw.items[0]);
        std::ifstream file(path, std::ios::binary);
        std::string text(kSecretBytesMax + 1, '\0');
        file.read(text.data(), static_cast<std::streamsize>(text.size()));
        text.resize(static_cast<std::size_t>(file.gcount()));
        if (text.empty() || text.size() > kSecretBytesMax) {
            problem(file_key, raw.where,
                    fmt::format("names {}, which {}; check the path and its mode", path,
                                text.empty() ? "is empty or cannot be read" : "is too large"));
            continue;
        }
        // The newline that editors and `echo` leave is not part of the secret.
        if (text.ends_with('\n')) text.pop_back();
        if (text.ends_with('\r')) text.pop_back();
        raw_.values[key.name] = {fmt::format("{} ({})", path, raw.where), {text}, false, false};
    }
}

void Loader::apply_sections() {
    for (const Section& section : config_sections()) {
        const auto written = raw_.sections.find(section.name);
        const bool below = std::any_of(raw_.values.begin(), raw_.values.end(), [&](const auto& v) {
            return v.first.starts_with(section.name + ".");
        });
        if (written != raw_.sections.end() && written->second.is_null && !below) {
            if (section.none) {
                section.none(out_.config);
                out_.origins[section.name] = written->second.where;
            } else {
                problem(section.name, written->second.where,
                        fmt::format("has no value; write {}: {{…}} or remove it",
                                    section.name.substr(section.name.rfind('.') + 1)));
            }
        } else if ((written != raw_.sections.end() || below) && section.enter) {
            section.enter(out_.config);
        }
    }
    // Sections without a row in the table cannot be null either.
    for (const auto& [name, raw] : raw_.sections) {
        if (raw.is_null && find_section(name) == nullptr) {
            problem(name, raw.where, "has no value; give it keys or remove it");
        }
    }
}

bool Loader::must_be(const Key& key, const RawValue& raw) {
    const bool show = key.secrecy == Secrecy::none && !raw.is_null && !raw.is_list;
    std::string text = "must be " + expectation(key);
    if (raw.is_null) text += ", but has no value";
    if (raw.is_list) text += ", not a list";
    if (show) text += fmt::format(", not \"{}\"", raw.items[0]);
    const std::string last = key.name.substr(key.name.rfind('.') + 1);
    const std::string guess =
        show ? nearest(raw.items[0], {key.choices.begin(), key.choices.end()}) : "";
    text += guess.empty() ? fmt::format("; for example {}: {}", last, key.example)
                          : fmt::format("; did you mean {}?", guess);
    problem(key.name, raw.where, text);
    return false;
}

std::string Loader::absolute(const std::string& path) const {
    return (std::filesystem::path(folder_) / path).lexically_normal().string();
}

std::string Loader::resolve(const Key& key, const std::string& text) const {
    switch (key.path_rule) {
        case PathRule::not_a_path:
            return text;
        case PathRule::path:
            return absolute(text);
        case PathRule::path_or_pem:
            return text.find("-----BEGIN") != std::string::npos ? text : absolute(text);
        case PathRule::path_or_url:
            return text.find("://") != std::string::npos ? text : absolute(text);
        case PathRule::catalog:
            if (text.starts_with("postgres:") || text.starts_with("postgresql:")) return text;
#ifdef WALBROOK_WITH_DUCKLAKE
            // Not made a path of: it is refused later, and may be a secret.
            if (!DuckLakeConfig{text, "/"}.problems().empty()) return text;
#endif
            if (text.starts_with("duckdb:")) return "duckdb:" + absolute(text.substr(7));
            return absolute(text.starts_with("sqlite:") ? text.substr(7) : text);
    }
    return text;
}

bool Loader::apply_text(const Key& key, const RawValue& raw, const PlaceOf<std::string>& at) {
    if (raw.is_null || raw.is_list || raw.items[0].find('\0') != std::string::npos) {
        return must_be(key, raw);
    }
    if (raw.items[0].empty()) {
        // "${PGPASSWORD:-}" means: a password if there is one.
        return key.secrecy == Secrecy::whole || must_be(key, raw);
    }
    at(out_.config) = resolve(key, raw.items[0]);
    return true;
}

template <class T>
bool Loader::apply_number(const Key& key, const RawValue& raw, const PlaceOf<T>& at) {
    if (raw.is_null || raw.is_list) return must_be(key, raw);
    const std::string& text = raw.items[0];
    std::uint64_t value = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || stop != text.data() + text.size() || value < key.min ||
        value > key.max) {
        return must_be(key, raw);
    }
    at(out_.config) = static_cast<T>(value);
    return true;
}

bool Loader::apply_ratio(const Key& key, const RawValue& raw, const PlaceOf<double>& at) {
    if (raw.is_null || raw.is_list) return must_be(key, raw);
    const std::string& text = raw.items[0];
    double value = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    // Written so that NaN fails.
    if (error != std::errc() || stop != text.data() + text.size() || !(value > 0 && value <= 1)) {
        return must_be(key, raw);
    }
    at(out_.config) = value;
    return true;
}

bool Loader::apply_choice(const Key& key, const RawValue& raw, const ChoicePlace& at) {
    if (raw.is_null || raw.is_list) return must_be(key, raw);
    const auto found = std::find(key.choices.begin(), key.choices.end(), raw.items[0]);
    if (found == key.choices.end()) return must_be(key, raw);
    at.set(out_.config, static_cast<std::size_t>(found - key.choices.begin()));
    return true;
}

void Loader::apply_values() {
    struct Setter {
        Loader& loader;
        const Key& key;
        const RawValue& raw;
        bool operator()(const PlaceOf<std::string>& at) const {
            return loader.apply_text(key, raw, at);
        }
        bool operator()(const PlaceOf<std::uint16_t>& at) const {
            return loader.apply_number(key, raw, at);
        }
        bool operator()(const PlaceOf<std::uint32_t>& at) const {
            return loader.apply_number(key, raw, at);
        }
        bool operator()(const PlaceOf<std::uint64_t>& at) const {
            return loader.apply_number(key, raw, at);
        }
        bool operator()(const PlaceOf<double>& at) const {
            return loader.apply_ratio(key, raw, at);
        }
        bool operator()(const ChoicePlace& at) const { return loader.apply_choice(key, raw, at); }
        bool operator()(const PlaceOf<std::vector<std::string>>& at) const {
            if (!raw.is_list) {
                loader.problem(key.name, raw.where,
                               fmt::format("must be a list; for example {}", key.example));
                return false;
            }
            at(loader.out_.config) = raw.items;
            return true;
        }
    };
    for (const Key& key : config_keys()) {
        const auto raw = raw_.values.find(key.name);
        if (raw == raw_.values.end()) continue;
        if (std::visit(Setter{*this, key, raw->second}, key.place)) {
            out_.origins[key.name] = raw->second.where;
        }
    }
}

// Says what is in effect, so that `config show` shows it.
void Loader::fill_tls_mode(const std::string& section, PgConnectionConfig& connection) {
    const std::string effective = tls_mode_of(connection);
    const std::string key = section + ".tls.mode";
    if (effective != connection.tls.mode && out_.origins.contains(key)) {
        problem(key, where_of(key),
                effective == url_value(connection.url, "sslmode")
                    ? "prefer stands beside another sslmode in the url; keep one of them"
                : connection.tls.trusted_root_certs.empty() && connection.tls.client_cert.empty()
                    ? "prefer stands beside another mode in the variable PGSSLMODE; keep one of "
                      "them"
                    : "prefer does not check the server's certificate, which those given beside "
                      "it are for; use verify-full, or remove them");
    }
    connection.tls.mode = effective;
}

void Loader::fill_defaults() {
    ProgramConfig& config = out_.config;
    fill_tls_mode("pipeline.pg_connection", config.pipeline.pg_connection);
    if (config.store_pg_connection) {
        fill_tls_mode("pipeline.store_pg_connection", *config.store_pg_connection);
    }
    if (config.pipeline.work_dir.empty() && config.pipeline.id != 0) {
        config.pipeline.work_dir = absolute(fmt::format("walbrook-{}", config.pipeline.id));
    }
    if (config.store.type == StoreType::sqlite && config.store.path.empty() &&
        !config.pipeline.work_dir.empty()) {
        config.store.path = config.pipeline.work_dir + "/state.db";
    }
}

// The origin of the key or, where it is missing, of the section that should hold it.
std::string Loader::where_of(const std::string& key) const {
    std::string at = key;
    for (;;) {
        if (const auto found = raw_.values.find(at); found != raw_.values.end()) {
            return found->second.where;
        }
        if (const auto found = raw_.sections.find(at); found != raw_.sections.end()) {
            return found->second.where;
        }
        const std::size_t dot = at.rfind('.');
        if (dot == std::string::npos) return name_;
        at.resize(dot);
    }
}

void Loader::check_destination() {
    std::vector<std::string> kinds;
    for (const std::string& kind : names_below("destination")) {
        const std::string section = "destination." + kind;
        const bool below = std::any_of(raw_.values.begin(), raw_.values.end(), [&](const auto& v) {
            return v.first.starts_with(section + ".");
        });
        if (below || raw_.sections.contains(section)) kinds.push_back(kind);
    }
    if (kinds.size() > 1) {
        problem("destination", where_of("destination." + kinds[1]),
                fmt::format("names {}; keep exactly one", fmt::join(kinds, " and ")));
    }
    const bool planned =
        std::any_of(out_.problems.begin(), out_.problems.end(),
                    [](const ConfigProblem& p) { return p.key.starts_with("destination"); });
    if (kinds.empty() && !planned) {
        problem("destination", where_of("destination"),
                "is required; for example destination: {ducklake: {catalog: "
                "\"lake/catalog.sqlite\", data_path: \"lake/data\"}}");
    }
    if (out_.config.destination == DestinationKind::ducklake) {
#ifdef WALBROOK_WITH_DUCKLAKE
        add_library_problems(out_.config.ducklake.problems());
#else
        problem(
            "destination.ducklake", where_of("destination.ducklake"),
            "was left out when this program was built; build it with WALBROOK_WITH_DUCKLAKE=ON");
#endif
    }
}

void Loader::check_store() {
    const auto refuse = [&](const char* key, const char* type) {
        problem(key, where_of(key),
                fmt::format("has no effect while pipeline.store.type is not {}; remove it", type));
    };
    if (out_.config.store.type != StoreType::sqlite &&
        raw_.values.contains("pipeline.store.path")) {
        refuse("pipeline.store.path", "sqlite");
    }
    if (!out_.config.store_pg_connection) return;
    if (out_.config.store.type != StoreType::postgres) {
        refuse("pipeline.store_pg_connection", "postgres");
        return;
    }
    // The store's connection obeys the same rules as the source's.
    PipelineConfig other = out_.config.pipeline;
    other.pg_connection = *out_.config.store_pg_connection;
    constexpr std::string_view kSource = "pipeline.pg_connection";
    std::vector<std::string> found;
    for (const std::string& text : other.problems()) {
        if (!text.starts_with(kSource)) continue;
        found.push_back("pipeline.store_pg_connection" + text.substr(kSource.size()));
    }
    add_library_problems(found);
}

// The library says "pipeline.id: is required; …". Here it also gets its place, unless
// the same key has been complained about already.
void Loader::add_library_problems(const std::vector<std::string>& found) {
    for (const std::string& text : found) {
        const std::size_t colon = text.find(": ");
        const std::string key = colon == std::string::npos ? "" : text.substr(0, colon);
        const bool known =
            std::any_of(out_.problems.begin(), out_.problems.end(),
                        [&](const auto& p) { return p.key == key || p.key == key + "_file"; });
        if (!known)
            problem(key, where_of(key), colon == std::string::npos ? text : text.substr(colon + 2));
    }
}

void Loader::check_verify() {
    const VerifyConfig& verify = out_.config.verify;
    if (verify.schedule == "off") {
        const std::pair<const char*, bool> keys[] = {
            {"verify.tables", !verify.tables.empty()},
            {"verify.max_rows_per_second", verify.max_rows_per_second != 0},
            {"verify.repair", verify.repair}};
        for (const auto& [key, is_set] : keys) {
            if (!is_set) continue;
            problem(key, where_of(key), "has no effect without verify.schedule; remove it");
        }
        return;
    }
    if (!Schedule::parse(verify.schedule)) {
        add_library_problems({fmt::format(
            "verify.schedule: must be off, an interval as 24h, or the five fields of cron in "
            "numbers, as \"30 3 * * 0\"; not \"{}\"",
            verify.schedule)});
    } else if (out_.config.destination == DestinationKind::blackhole) {
        add_library_problems(
            {"verify.schedule: has no effect with this destination, which holds nothing that could "
             "be compared; remove it"});
#ifdef WALBROOK_WITH_DUCKLAKE
    } else if (const auto problem = verify::lake_problem(out_.config.ducklake); !problem.empty()) {
        add_library_problems({"verify.schedule: " + problem});
#endif
    }
}

void Loader::check_server() {
    const ServerConfig& server = out_.config.server;
    std::vector<std::string> found;
    std::string host;
    int port = 0;
    if (server.listen != "off" && !split_address(server.listen, host, port)) {
        found.push_back(fmt::format(
            "server.listen: must be host:port, [address]:port or off, not \"{}\"", server.listen));
    }
    for (const char* key : {"server.token", "server.tls.cert", "server.tls.key"}) {
        if (server.listen == "off" && out_.origins.contains(key)) {
            found.push_back(
                fmt::format("{}: has no effect while server.listen is off; remove it", key));
        }
    }
    const bool is_visible = std::all_of(server.token.begin(), server.token.end(),
                                        [](char c) { return c > ' ' && c <= '~'; });
    if (!server.token.empty() && (server.token.size() < kTokenBytesMin || !is_visible)) {
        found.push_back(
            "server.token: must have 16 characters or more, without spaces; openssl rand -hex 32 "
            "makes one");
    }
    if (server.tls_cert.empty() != server.tls_key.empty()) {
        found.push_back(server.tls_key.empty() ? "server.tls.cert: needs server.tls.key, too"
                                               : "server.tls.key: needs server.tls.cert, too");
    } else if (const std::string problem = exposure_problem(
                   {"", server.listen, server.token, server.tls_cert, server.tls_key});
               !problem.empty()) {
        found.push_back("server.listen: " + problem);
    }
    add_library_problems(found);
}

void Loader::check_whole() {
    add_library_problems(out_.config.pipeline.problems());
    check_server();
    check_store();
    check_destination();
    check_verify();
}

LoadedConfig Loader::finish() {
    read_secret_files();
    apply_sections();
    apply_values();
    fill_defaults();
    check_whole();
    return std::move(out_);
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i + 1;
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({changed, row[j] + 1, row[j + 1] + 1});
        }
    }
    return row[b.size()];
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
    std::string best;
    std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
    for (const std::string& candidate : candidates) {
        const std::size_t distance = edit_distance(word, candidate);
        if (distance < best_distance) {
            best = candidate;
            best_distance = distance;
        }
    }
    if (!best.empty() || word.size() < 3) return best;
    for (const std::string& candidate : candidates) {
        if (candidate.starts_with(word)) return candidate;
    }
    return "";
}

std::string to_string(const ConfigProblem& problem) {
    std::string out;
    if (!problem.where.empty()) out += problem.where + ": ";
    if (!problem.key.empty()) out += problem.key + ": ";
    return out + problem.text;
}

Environment process_environment() {
    Environment environment;
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        environment.emplace_back(*entry);
    }
    return environment;
}

LoadedConfig parse_config(std::string_view text, const std::string& name, const std::string& folder,
                          const Environment& environment) {
    Loader loader(name, folder, environment);
    loader.read_yaml(text);
    loader.read_environment();
    return loader.finish();
}

LoadedConfig load_config(const std::string& file, const Environment& environment) {
    std::error_code ignored;
    const std::string here = std::filesystem::current_path(ignored).string();
    if (file.empty()) {
        Loader loader("environment", here, environment);
        loader.read_environment();
        return loader.finish();
    }
    const std::filesystem::path path = std::filesystem::path(here) / file;
    struct stat found{};
    std::string refused;
    std::string text;
    if (stat(path.c_str(), &found) != 0) {
        refused =
            fmt::format("cannot be read ({}); give its path with --config", std::strerror(errno));
    } else if (S_ISDIR(found.st_mode)) {
        refused = "is a folder; give the file with --config";
    } else {
        std::ifstream in(path, std::ios::binary);
        if (!in) refused = "cannot be read; check its mode";
        text.resize(kFileBytesMax + 1);  // One too many is seen as too many.
        in.read(text.data(), static_cast<std::streamsize>(text.size()));
        text.resize(static_cast<std::size_t>(in.gcount()));
    }
    if (!refused.empty()) {
        LoadedConfig out;
        out.problems.push_back({"", file, refused});
        return out;
    }
    return parse_config(text, file, path.parent_path().string(), environment);
}

}  // namespace walbrook
