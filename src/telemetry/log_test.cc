#include "telemetry/log.h"

#include <gtest/gtest.h>

#include <thread>

namespace walbrook {
namespace {

using Fields = std::vector<std::pair<std::string, std::string>>;

TEST(Logger, WithoutASinkDoesNothing) {
    const Logger log;
    EXPECT_FALSE(log.is_on(LogLevel::error));
    log.error("nobody hears this");
    log.with({"a", 1}).failed(LogLevel::error, "nor this", Error(ErrorCode::internal, "x"));
}

TEST(Logger, DropsWhatIsBelowItsLevel) {
    std::vector<LogRecord> lines;
    const Logger log([&](const LogRecord& line) { lines.push_back(line); }, LogLevel::warn);
    log.debug("one");
    log.info("two");
    log.warn("three");
    log.error("four");
    ASSERT_EQ(lines.size(), 2U);
    EXPECT_EQ(lines[0].message, "three");
    EXPECT_EQ(lines[1].level, LogLevel::error);
}

TEST(Logger, FieldsKeepTheirOrderAndForm) {
    LogRecord last;
    const Logger log([&](const LogRecord& line) { last = line; });
    const Logger table = log.with({"table", "public.t"});
    table.info("copied", {{"rows", std::uint64_t{12}}, {"at", Lsn{0x1'0000'0002}}, {"ok", true}});
    EXPECT_EQ(last.fields,
              (Fields{{"table", "public.t"}, {"rows", "12"}, {"at", "1/2"}, {"ok", "true"}}));
    log.info("plain");
    EXPECT_TRUE(last.fields.empty());
}

TEST(Logger, AFailureNamesItsCodeAndSqlstate) {
    LogRecord last;
    const Logger log([&](const LogRecord& line) { last = line; });
    const Error error =
        Error(ErrorCode::permission, "no").with_context("open slot").with_sqlstate("42501");
    log.failed(LogLevel::warn, "stopping", error, {{"try", 3}});
    EXPECT_EQ(last.level, LogLevel::warn);
    EXPECT_EQ(last.fields, (Fields{{"try", "3"},
                                   {"error", "open slot: no"},
                                   {"code", "permission"},
                                   {"sqlstate", "42501"}}));
}

TEST(Logger, AsASinkItKeepsLevelAndFields) {
    std::vector<LogRecord> lines;
    const Logger outer([&](const LogRecord& line) { lines.push_back(line); }, LogLevel::info);
    const Logger inner(outer.with({"pipeline", 7}).as_sink());
    inner.debug("quiet");
    inner.info("copied", {{"rows", 2}});
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_EQ(lines[0].fields, (Fields{{"pipeline", "7"}, {"rows", "2"}}));
    EXPECT_FALSE(Logger().as_sink());
}

TEST(Logger, HandsOverOneLineAtATime) {
    int inside = 0;
    int lines = 0;
    const Logger log([&](const LogRecord&) {
        EXPECT_EQ(++inside, 1);
        ++lines;
        --inside;
    });
    {
        std::vector<std::jthread> writers;
        for (int i = 0; i < 4; ++i) {
            writers.emplace_back([log] {
                for (int n = 0; n < 200; ++n) log.info("line", {{"n", n}});
            });
        }
    }
    EXPECT_EQ(lines, 800);
}

TEST(WithoutSecrets, MasksPasswordsAndNothingElse) {
    const std::pair<const char*, const char*> cases[] = {
        {"postgres://u:hunter2@h:5432/db", "postgres://u:***@h:5432/db"},
        {"at postgresql://u:p@ss@h/db now", "at postgresql://u:***@h/db now"},
        {"postgres://u:a/b@h/db", "postgres://u:***@h/db"},
        {"postgres://u@h:5432/db", "postgres://u@h:5432/db"},
        {"http://127.0.0.1:9090/metrics", "http://127.0.0.1:9090/metrics"},
        {"host=h password=hunter2 user=u", "host=h password=*** user=u"},
        {"PASSWORD = 'it\\'s mine' user=u", "PASSWORD = *** user=u"},
        {"postgres://h/db?user=u&password=x&port=1", "postgres://h/db?user=u&password=***"},
        {"two a://u:1@x b://u:2@y", "two a://u:***@x b://u:***@y"},
        {"password authentication failed for user \"u\"",
         "password authentication failed for user \"u\""},
        {"postgres://u@h:5432/d?password=p@S now", "postgres://u@h:5432/d?password=*** now"},
        {"postgres://u:a\"b'c@h/d", "postgres://u:***@h/d"},
        {"host=h password=a&S'S\"S user=u", "host=h password=*** user=u"},
        {"host=h password=a\\ S user=u", "host=h password=*** user=u"},
        {"oauth_client_secret=S x", "oauth_client_secret=*** x"},
        {"password=", "password="},
        {"://:@", "://:***@"},
        {"", ""},
    };
    for (const auto& [text, masked] : cases) EXPECT_EQ(without_secrets(text), masked);
}

TEST(Logger, MasksSecretsInMessagesAndFields) {
    LogRecord last;
    const Logger log([&](const LogRecord& line) { last = line; });
    log.info("connecting to postgres://u:hunter2@h/db", {{"dsn", "password=hunter2"}});
    EXPECT_EQ(last.message.find("hunter2"), std::string::npos);
    EXPECT_EQ(last.fields[0].second, "password=***");
}

}  // namespace
}  // namespace walbrook
