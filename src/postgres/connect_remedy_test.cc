#include "postgres/connect_remedy.h"

#include "postgres/connect_options.h"

#include <gmock/gmock.h>

namespace walbrook {
namespace {

using ::testing::HasSubstr;

struct RemedyCase {
    std::string said;
    std::string remedy;
    ErrorCode code;
};

TEST(ConnectRemedy, SaysWhatToDo) {
    const RemedyCase cases[] = {
        {"connection failed: SSL error: certificate verify failed", "must be renewed at the server",
         ErrorCode::config},
        {"SSL error: sslv3 alert certificate expired", "renew tls.client_cert", ErrorCode::config},
        {"server does not support SSL, but SSL was required", "switch ssl on", ErrorCode::config},
        {"FATAL:  08P01: unsupported startup parameter: replication", "directly at Postgres",
         ErrorCode::config},
        {"FATAL:  28P01: password authentication failed for user \"w\"", "password_file",
         ErrorCode::permission},
        {"FATAL:  28000: no pg_hba.conf entry for host", "pg_hba.conf of the server must allow",
         ErrorCode::permission},
        {"FATAL:  42501: permission denied to start WAL sender", "alter role … replication",
         ErrorCode::permission},
        {"FATAL:  42501: permission denied for database \"d\"", "grant connect",
         ErrorCode::permission},
    };
    for (const RemedyCase& each : cases) {
        SCOPED_TRACE(each.said);
        const Error error = connect_error(each.said, "");
        EXPECT_THAT(error.message(), HasSubstr(each.remedy));
        EXPECT_EQ(error.code(), each.code);
    }
}

TEST(ConnectRemedy, GivesTheExactStatement) {
    const Login login{"w \"x\"", "d"};
    EXPECT_EQ(connect_remedy("42501", "permission denied for database \"d\"", login).text,
              "grant connect on database \"d\" to \"w \"\"x\"\"\"");
    EXPECT_EQ(connect_remedy("42501", "permission denied to start WAL sender", login).text,
              "alter role \"w \"\"x\"\"\" replication");
}

TEST(ConnectRemedy, WhatHealsByItselfStaysUnavailable) {
    for (const char* said :
         {"could not connect to server: Connection refused", "SSL SYSCALL error: EOF detected",
          "SSL error: unexpected eof", "FATAL:  57P03: the database system is starting up"}) {
        EXPECT_EQ(connect_error(said, "").code(), ErrorCode::unavailable) << said;
    }
}

}  // namespace
}  // namespace walbrook
