#pragma once

#include <memory>
#include <string>
#include <walbrook/destination.h>

// A destination of one's own, in one file and without columns: it appends every change
// to FOLDER/journal.jsonl, one JSON object a line, and is exactly once all the same.
//
//     {"op":"copied","table":"public.t","oid":"16384","row":{"id":"1","note":null}}
//     {"op":"update","table":"public.t","oid":"16384","lsn":"0/1A2B","ordinal":1,"row":{"id":"1"}}
//     {"op":"position","lsn":"0/1A2C"}
//
// Values are what Postgres prints; a value that an update left unchanged is not there. The first
// line says whose journal it is, and in which format; a new version of a table has a line, and
// what rows that exist hold in its new columns another one ("added").
// What makes it exact: a flush ends with its position, in the same file and made durable
// by the same fsync. After a crash everything behind the last position is cut off, and
// the pipeline sends it again.
std::unique_ptr<walbrook::Destination> make_journal_destination(std::string folder);
