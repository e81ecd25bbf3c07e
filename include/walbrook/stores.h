#pragma once

#include <memory>
#include <string>

#include "walbrook/config.h"
#include "walbrook/store.h"

namespace walbrook {

// Forgets everything when destroyed. A destination that keeps its position makes up
// for it at the next start.
std::unique_ptr<Store> make_memory_store();

// One SQLite file (made with mode 0600), for one process at a time.
std::unique_ptr<Store> make_sqlite_store(std::string path);

// Tables in the schema `walbrook` of a Postgres database.
std::unique_ptr<Store> make_postgres_store(PgConnectionConfig connection);

}  // namespace walbrook
