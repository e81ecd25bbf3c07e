#pragma once

#include "walbrook/result.h"

#include <string_view>

namespace walbrook {

// The reaction that a SQLSTATE asks for: exact codes first, then classes (Postgres
// manual, Appendix A). Empty means that the connection was lost: unavailable. What is
// unknown is taken for passing trouble (unavailable). The only place that decides.
//
// 42704 (undefined object) is `config`: a publication or type that is named somewhere
// does not exist. Where a statement names a slot, slots.h makes `missing_slot` of it;
// where it names a snapshot, snapshot.h makes `aborted` of it.
ErrorCode error_code_of_sqlstate(std::string_view sqlstate);

}  // namespace walbrook
