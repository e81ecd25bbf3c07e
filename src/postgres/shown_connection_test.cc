#include "postgres/shown_connection.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace walbrook {
namespace {

TEST(ShownConnection, HasWhatWasWrittenWithoutItsSecrets) {
    const std::pair<const char*, const char*> cases[] = {
        {"postgres://u@h:1/d", "postgres://u@h:1/d"},
        {"postgres://h:1/d", "postgres://h:1/d"},
        {"postgresql://u:S@h/d", "postgresql://u:***@h/d"},
        {"postgres://u:a%2FS@h1:1,h2:2/d?sslpassword=S&sslmode=require",
         "postgres://u:***@h1:1,h2:2/d?sslmode=require&sslpassword=***"},
        {"postgres://u:S@[::1]:5/d", "postgres://u:***@[::1]:5/d"},
        {"postgres://%2Fvar%2Frun/d", "postgres://%2Fvar%2Frun/d"},
        {"postgres:///d?host=h&port=7", "postgres://h:7/d"},
        {"postgres://u:two S@h/d", "postgres://u:***@h/d"},
        {"postgres://u:quo\"S'<@h/d", "postgres://u:***@h/d"},
        {"postgres://u@h:5432/d?password=p@S", "postgres://u:***@h:5432/d"},
        {"postgres://u@h/d?password=a'S", "postgres://u:***@h/d"},
        {"postgres://u@h/d?password=a\"S", "postgres://u:***@h/d"},
        {"postgres://u@h/d?pass%77ord=S", "postgres://u:***@h/d"},
        {"postgres://u@h/d?sslkey=/a/k", "postgres://u@h/d?sslkey=%2Fa%2Fk"},
        {"postgres:host=h password=a&S", "postgres:password=*** host=h"},
        {"postgres:host=h password=a'S", "postgres:password=*** host=h"},
        {"postgres:host=h password=a\\ S user='b c'", "postgres:user='b c' password=*** host=h"},
        {"postgres:postgres://u:S@h/d", "postgres:postgres://u:***@h/d"},
    };
    for (const auto& [text, shown] : cases) {
        EXPECT_EQ(shown_connection(text), shown) << text;
        EXPECT_EQ(shown_connection(shown), shown) << text;
    }
}

TEST(ShownConnection, HidesMoreWhereLibpqReadsAnotherThingThanWasMeant) {
    const std::pair<const char*, const char*> cases[] = {
        {"postgres://u:S@S@h/d", "postgres://u:***@h/d"},
        {"postgres://u:S/S@h:1/d", "postgres://u:***@h:1/d"},
        {"postgres://u:12/S@h/d", "postgres://u:***@h/d"},
        {"postgres://u:S?S@h/d", "postgres://u:***@h/d"},
        {"postgres://u:S", "postgres://***"},
        {"postgres://u:p%zzS@h/d", "postgres://u:***@h/d"},
        {"postgres://u@h/d?oauth_client_secre=S", "postgres://***"},
        {"postgres://u@h:5432/d&password=S", "postgres://***"},
        {"postgres://u@h:5432/d password=S", "postgres://***"},
        {"postgres://h/d;password=S@x", "postgres://***"},
        {"postgres://h/d?scram_client_key=S", "postgres://***"},
        {"postgres://u:S@h/my%20d", "postgres://u:***@h/my%20d"},
        {"postgres://\xFF:p%zzS@h/d", "postgres://%FF:***@h/d"},
        {"mysql://u:S@h/d", "mysql://u:***@h/d"},
        {"ducklake:postgres:postgres://u:S@h/d", "ducklake:postgres:postgres://u:***@h/d"},
        {"ducklake:postgres:host=h Password=S", "***"},
        {"host=h pasword=S", "***"},
        {"/lake/catalog.sqlite", "/lake/catalog.sqlite"},
        {"/lake/a=b.sqlite", "/lake/a=b.sqlite"},
        {"", ""},
    };
    for (const auto& [text, shown] : cases) {
        EXPECT_EQ(shown_connection(text), shown) << text;
        EXPECT_EQ(shown_connection(shown), shown) << text;
    }
}

}  // namespace
}  // namespace walbrook
