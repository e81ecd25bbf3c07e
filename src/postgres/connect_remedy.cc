#include "postgres/connect_remedy.h"

#include "postgres/quote.h"

#include <array>
#include <utility>

namespace walbrook {
namespace {

struct Rule {
    std::string_view sqlstate;  // Empty: any.
    std::string_view said;      // A part of the text; empty: any.
    std::string_view remedy;    // With {role} and {database}, as SQL writes them.
    std::optional<ErrorCode> code = {};
};

// The first that fits counts. Texts of servers may come in their language: where one of them
// decides here, a rule for the bare SQLSTATE follows.
constexpr auto kRules = std::to_array<Rule>({
    // TLS, as libpq and OpenSSL say it (fe-secure-openssl.c, fe-secure-common.c).
    {"", "certificate verify failed",
     "the server's certificate is not trusted: it has expired and must be renewed at the server, "
     "or tls.trusted_root_certs does not hold its issuer; openssl s_client -starttls postgres "
     "-connect host:port shows its dates and issuer",
     ErrorCode::config},
    {"", "alert certificate expired",
     "our own certificate has expired: renew tls.client_cert and tls.client_key, then start "
     "walbrook again",
     ErrorCode::config},
    {"", "alert unknown ca",
     "the server does not know the issuer of tls.client_cert: add it to the server's ssl_ca_file",
     ErrorCode::config},
    {"", "does not match host name",
     "connect by a name that stands in the server's certificate, or use tls.mode verify-ca, which "
     "does not compare names",
     ErrorCode::config},
    {"", "server does not support SSL",
     "switch ssl on at the server, or set tls.mode prefer or disable", ErrorCode::config},
    {"", "root certificate file",
     "set tls.trusted_root_certs to the certificate of the server's issuer, as PEM text or a path",
     ErrorCode::config},
    {"", "could not load private key file", "tls.client_key must be the key of tls.client_cert",
     ErrorCode::config},
    {"", "could not read certificate file", "tls.client_cert must be a certificate in PEM form",
     ErrorCode::config},
    {"", "certificate present, but not private key file",
     "tls.client_key names a file that is not there", ErrorCode::config},
    {"", "private key file \"", "tls.client_key must be readable for its owner alone (chmod 600)",
     ErrorCode::config},
    // Poolers.
    {"08P01", "unsupported startup parameter",
     "this is a connection pooler such as PgBouncer: point pg_connection directly at Postgres",
     ErrorCode::config},
    {"08P01", "",
     "if there is a connection pooler such as PgBouncer in between, point pg_connection directly "
     "at Postgres",
     ErrorCode::config},
    // Rights.
    {"28P01", "",
     "if the password was changed, put the new one into pg_connection.password or password_file, "
     "then start walbrook again"},
    {"28000", "requires a valid client certificate", "give tls.client_cert and tls.client_key"},
    {"28000", "certificate authentication failed",
     "the common name of tls.client_cert must be the role, or be mapped to it in pg_ident.conf"},
    {"28000", "is not permitted to log in", "alter role {role} login"},
    {"28000", "",
     "pg_hba.conf of the server must allow this role, database and address, encrypted or not as "
     "tls.mode says; where it asks for a certificate, the common name of tls.client_cert must be "
     "the role"},
    {"42501", "start walsender", "alter role {role} replication"},
    {"42501", "start WAL sender", "alter role {role} replication"},
    {"42501", "for database", "grant connect on database {database} to {role}"},
    {"42501", "",
     "the role needs the REPLICATION attribute, and CONNECT on the database: alter role {role} "
     "replication; grant connect on database {database} to {role}"},
    {"53300", "", "raise max_connections or max_wal_senders, or end sessions that nobody needs"},
    {"3D000", "", "check pg_connection.name"},
});

void put_name(std::string& text, std::string_view place, std::string_view name) {
    const std::string written = name.empty() ? "…" : quote_identifier(name);
    for (std::size_t at = 0; (at = text.find(place, at)) != std::string::npos;
         at += written.size()) {
        text.replace(at, place.size(), written);
    }
}

}  // namespace

ConnectRemedy connect_remedy(std::string_view sqlstate, std::string_view text, const Login& login) {
    for (const Rule& rule : kRules) {
        const bool fits = (rule.sqlstate.empty() || rule.sqlstate == sqlstate) &&
                          text.find(rule.said) != std::string_view::npos;
        if (!fits) continue;
        std::string remedy(rule.remedy);
        put_name(remedy, "{role}", login.role);
        put_name(remedy, "{database}", login.database);
        return {std::move(remedy), rule.code};
    }
    return {};
}

}  // namespace walbrook
