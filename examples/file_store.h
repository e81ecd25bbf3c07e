#pragma once

#include <memory>
#include <string>
#include <walbrook/store.h>

// A store of one's own: all records in one JSON file, which every change writes anew
// beside the old one and then renames over it, so that a crash leaves the one or the
// other. Enough for some hundred tables; the sqlite store does not rewrite everything.
std::unique_ptr<walbrook::Store> make_file_store(std::string path);
