// No mistake in a configuration makes the program repeat a secret of it.

#include "support/child_process.h"
#include "support/temp_dir.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kSecret = "Pl4ntedSecret";
constexpr int kConfigurationIsWrong = 78;

struct Case {
    std::string connection;  // Of the source, as YAML in a flow map.
    std::string more = {};   // Below it.
    std::vector<std::pair<std::string, std::string>> env = {};
};

std::string catalog(const std::string& text) {
    return "destination: {ducklake: {catalog: '" + text + "', data_path: lake}}\n";
}

// S stands for the secret; nothing listens on port 1.
std::vector<Case> mistakes() {
    const std::string at = "host: 127.0.0.1, port: 1, name: d, username: u, ";
    return {
        // None: nobody answers.
        {"url: 'postgres://u:S@127.0.0.1:1/d'"},
        {"url: 'postgresql://u:a%2FS@127.0.0.1:1,127.0.0.1:1/d?sslpassword=S&password=S'"},
        {"url: 'postgres://u:two S@127.0.0.1:1/d'"},
        {"url: 'postgres://u:quo\"S@127.0.0.1:1/d'"},
        {"url: 'postgres://u@127.0.0.1:1/d?password=S'"},
        {at + "password: S"},
        {at + "password_file: secret"},
        {"url_file: url"},
        {at + "password: '${PG}'", "", {{"PG", "S"}}},
        {at, "", {{"WALBROOK__PIPELINE__PG_CONNECTION__PASSWORD", "S"}}},
        {at, "server: {token: S-is-the-token, listen: '127.0.0.1:0'}\n"},
        // In the url.
        {"url: 'postgres://u:half/S@127.0.0.1:1/d'"},
        {"url: 'postgres://u:p%zzS@127.0.0.1:1/d'"},
        {"url: S"},
        {"url: 'host=h password=S'"},
        {"host: 'postgres://u:S@127.0.0.1:1/d', name: d, username: u"},
        {"host: 'host=127.0.0.1 password=S', name: d, username: u"},
        // In YAML.
        {at + "password:S"},
        {"{password:S}"},
        {at + "password: *S"},
        {at + "password: &S"},
        {at + "password: !S x"},
        {at + "password: @S"},
        {at + "password: %S"},
        {at + "password: `S"},
        {at + "password: [S"},
        {at + "password: [S]"},
        {at + "password: {S: 1}"},
        {at + "password: \"S"},
        {at + "password: \"\\qS\""},
        {at + "password: |\n S: 1"},
        {at + "password: S: 1"},
        {at + "password: S, password: S"},
        {at + "password: '${S'"},
        {at + "password: '${no name S}'"},
        {at + "pasword: S"},
        {at + "password: S, sslmode: require"},
        {at + "password_file: secret, password: S"},
        {at + "password_fil: S"},
        {at + "password: S", "  - S\n S\n\tS:"},
        {at, "", {{"WALBROOK__PIPELINE__PG_CONNECTION__PASSWRD", "S"}}},
        {at, "", {{"WALBROOK__PIPELINE__PG_CONNECTION", "{password: S}"}}},
        // Elsewhere.
        {at, "  store: {type: postgres}\n  store_pg_connection: {url: 'postgres://u:S/x@h/d'}\n"},
        {at, "  store: {type: sqlite}\n  store_pg_connection: {url: 'postgres://u:S@h/d'}\n"},
        {at + "tls: {client_cert: a, client_key: \"-----BEGIN S-----\"}"},
        {at + "tls: {mode: verify}, password: S", "log: {level: 'debu'}\n"},
        {at, "server: {token: S}\n"},
        {at, "server: {token: [S]}\n"},
        {at, "server: {token: 'S with spaces', listen: off}\n"},
        {at,
         "server: {listen: '127.0.0.1:0', tls: {cert: \"-----BEGIN CERTIFICATE-----\", key: "
         "\"-----BEGIN PRIVATE KEY-----S\"}}\n"},
        {at, "server: {listen: '0.0.0.0:1', token: S-is-the-token}\n"},
        // A key in another form than PEM.
        {at, "server: {listen: '127.0.0.1:0', tls: {cert: a.crt, key: S}}\n"},
        {at + "tls: {client_cert: a.crt, client_key: S}"},
        {at + "tls: {client_cert: \"-----BEGIN PRIVATE KEY-----S\", client_key: url}"},
        // What ends a password elsewhere.
        {"url: 'postgres://u@127.0.0.1:1/d?password=p@S'"},
        {"url: \"postgres://u@127.0.0.1:1/d?password=a'S\""},
        {"url: 'postgres://u@127.0.0.1:1/d?password=a\"S'"},
        {"url: 'postgres://u@127.0.0.1:1/d?pass%77ord=S'"},
        {"url: 'postgres://u@127.0.0.1:1/d?oauth_client_secret=S'"},
        // Of a catalog; the source is never reached.
        {at, catalog("postgres:host=127.0.0.1 port=1 password=a&S")},
        {at, catalog("postgres:host=127.0.0.1 port=1 password=a\\ S")},
        {at, catalog("postgres:postgres://u:a/S@127.0.0.1:1/d")},
        {at, catalog("postgres://u@127.0.0.1:1/d?password=p@S")},
        {at, catalog("mysql://u:S@h/d")},
        {at, catalog("Postgres://u:S@h/d")},
        {at, catalog("ducklake:postgres:postgres://u:S@h/d")},
        {at, catalog("host=h password=S")},
    };
}

std::string planted(std::string text) {
    for (std::size_t i = 0; (i = text.find('S', i)) != std::string::npos;) {
        // Not the S of a word such as WALBROOK__…__PASSWORD.
        const auto is_letter = [&](std::size_t at) {
            return at < text.size() &&
                   (std::isupper(static_cast<unsigned char>(text[at])) != 0 || text[at] == '_');
        };
        const bool is_alone = !is_letter(i + 1) && (i == 0 || !is_letter(i - 1));
        const std::string by = is_alone ? kSecret : "S";
        text.replace(i, 1, by);
        i += by.size();
    }
    return text;
}

TEST(Secrets, NoMistakeMakesTheProgramRepeatThem) {
    const TempDir folder("secrets");
    write_file(folder.file("secret"), std::string(kSecret) + "\n");
    write_file(folder.file("url"), planted("postgres://u:S@127.0.0.1:1/d\n"));
    const std::string file = folder.file("walbrook.yaml");
    int planted_cases = 0;
    for (const Case& each : mistakes()) {
        const std::string text = fmt::format(
            "pipeline:\n  id: 1\n  publication_name: p\n  work_dir: work\n  pg_connection: {{{}}}\n"
            "{}{}{}{}",
            planted(each.connection), each.more.starts_with("  ") ? planted(each.more) : "",
            each.more.find("destination:") == std::string::npos ? "destination: {blackhole: {}}\n"
                                                                : "",
            each.more.starts_with("  ") ? "" : planted(each.more),
            each.more.find("server:") == std::string::npos ? "server: {listen: off}\n" : "");
        write_file(file, text);
        SCOPED_TRACE(text);
        std::vector<std::pair<std::string, std::string>> env;
        for (const auto& [name, value] : each.env) env.emplace_back(name, planted(value));
        env.emplace_back("WALBROOK__LOG__FORMAT", "json");
        if (each.more.find("log:") == std::string::npos) {
            env.emplace_back("WALBROOK__LOG__LEVEL", "debug");
        }
        const std::vector<std::vector<std::string>> commands = {
            {"config", "show"}, {"run", "--timeout", "0.001"}, {"status"}, {"verify"}, {"init"}};
        for (std::vector<std::string> args : commands) {
            args.insert(args.end(), {"--config", file});
            const Finished done = run_program(WALBROOK_PROGRAM_PATH, {.args = args, .env = env});
            EXPECT_THAT(done.output, Not(HasSubstr(kSecret))) << args[0];
            EXPECT_NE(done.output, "") << args[0];
            if (done.exit.code == kConfigurationIsWrong) break;  // The others say the same.
        }
        ++planted_cases;
    }
    EXPECT_GT(planted_cases, 40);
}

}  // namespace
}  // namespace walbrook::testing
