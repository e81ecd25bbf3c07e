# Mistakes that are planted in copies of the product's own sources, for sim_bugs_test alone: what
# ships knows nothing of them. Each is a place as it stands there and the same with the mistake;
# where the place is no longer found, or is found twice, the build says so.
#
# walbrook_plant(NUMBER FILE PLACE MISTAKE)
function(walbrook_plant number file place mistake)
    get_filename_component(name ${file} NAME)
    get_property(text GLOBAL PROPERTY sim_bugs_${name})
    if(NOT text)
        file(READ ${PROJECT_SOURCE_DIR}/src/${file} text)
        set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${file})
        set_property(GLOBAL APPEND PROPERTY sim_bugs_files ${name})
        # Alone in its object file, in whose place the linker takes the copy's.
        get_filename_component(folder ${file} DIRECTORY)
        set_source_files_properties(${PROJECT_SOURCE_DIR}/src/${file}
            TARGET_DIRECTORY walbrook_${folder} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
        set(text "extern int walbrook_planted_bug;\n${text}")
    endif()
    string(FIND "${text}" "${place}" first)
    string(FIND "${text}" "${place}" last REVERSE)
    if(first EQUAL -1 OR NOT first EQUAL last)
        message(FATAL_ERROR "tests/sim/bugs.cmake: bug ${number}: ${file} must have once: ${place}")
    endif()
    string(REPLACE "BUG" "walbrook_planted_bug == ${number}" mistake "${mistake}")
    string(REPLACE "${place}" "${mistake}" text "${text}")
    set_property(GLOBAL PROPERTY sim_bugs_${name} "${text}")
endfunction()

# Tells the server that what was received may be forgotten.
walbrook_plant(1 pipeline/apply_core.cc
    [[return pending_.empty() && !in_flight_ && at_boundary() ? received_]]
    [[return (BUG) || (pending_.empty() && !in_flight_ && at_boundary()) ? received_]])
# Publishes a copy before the stream has passed what its snapshot shows.
walbrook_plant(2 pipeline/apply_core_copies.cc
    [[if (table->copy && received_ >= table->copy->position &&]]
    [[if (table->copy && ((BUG) || received_ >= table->copy->position) &&]])
# Writes a flush again whose answer was lost, though it had landed.
walbrook_plant(3 pipeline/flush_apply.cc
    [[} else if (position < flush_->position()) {]]
    [[} else if (position < flush_->position() || ((BUG) && position == flush_->position())) {]])
# Takes what comes again after a reconnect for new.
walbrook_plant(4 pipeline/apply_core.cc
    [[skipping_ = transaction.commit_lsn < start_;]]
    [[skipping_ = !(BUG) && transaction.commit_lsn < start_;]])
# Keeps the rows of a subtransaction that was rolled back in a streamed transaction.
walbrook_plant(5 pipeline/apply_core.cc
    [[if (found != spooled_.end()) found->second->frames.abort(abort.subxid);]]
    [[if (found != spooled_.end() && !(BUG)) found->second->frames.abort(abort.subxid);]])
# Goes on with a copy that may show what the new server never had.
walbrook_plant(6 pipeline/apply_core_copies.cc
    [[lose_copy(*table, "another server took over while it was copied");]]
    [[if (!(BUG)) lose_copy(*table, "another server took over while it was copied");]])
# Does not see that somebody else has moved the slot.
walbrook_plant(7 pipeline/slot_check.cc
    [[if (slot->confirmed_flush > confirm_bound) {]]
    [[if (!(BUG) && slot->confirmed_flush > confirm_bound) {]])
# Follows an ALTER that has rewritten the rows as if they were the same.
walbrook_plant(8 pipeline/schema_follow.cc
    [[if (!now.other_rows.empty()) return lost(now.other_rows);]]
    [[if (!(BUG) && !now.other_rows.empty()) return lost(now.other_rows);]])
# Goes on with a server that lacks transactions of the destination.
walbrook_plant(9 source/timeline.cc
    [[position <= left->switch_point) return left->switch_point;]]
    [[((BUG) || position <= left->switch_point)) return left->switch_point;]])
# Makes a table errored for what passes by itself: the network, a server that is away.
walbrook_plant(10 pipeline/error_policy.cc
    [[return Reaction::retry;]]
    [[return (BUG) ? Reaction::error_table : Reaction::retry;]])
# The same for a copy that has only to begin again.
walbrook_plant(11 pipeline/error_policy.cc
    [[return Reaction::redo;]]
    [[return (BUG) ? Reaction::error_table : Reaction::redo;]])
# Leaves an errored table to the operator at once.
walbrook_plant(12 pipeline/table_registry.cc
    [[const bool again = retries == Retries::planned && next.retries < retry_.attempts_max;]]
    [[const bool again =
        !(BUG) && retries == Retries::planned && next.retries < retry_.attempts_max;]])
# Plans to copy an errored table again, and forgets it.
walbrook_plant(13 pipeline/table_registry.cc
    [[if (state.phase != TablePhase::errored || state.next_retry_unix_ms == 0) continue;]]
    [[if ((BUG) || state.phase != TablePhase::errored || state.next_retry_unix_ms == 0) continue;]])
# Tells the store once that a copy has failed, and leaves the table where it is if that fails.
walbrook_plant(14 pipeline/stopped_tables.cc
    [[return tables.copy_again(table, error.message());]]
    [[const Status stored = tables.copy_again(table, error.message());
        return (BUG) ? Status() : stored;]])
get_property(files GLOBAL PROPERTY sim_bugs_files)
set(sim_bugs_sources)
foreach(name ${files})
    get_property(text GLOBAL PROPERTY sim_bugs_${name})
    set(out ${CMAKE_CURRENT_BINARY_DIR}/bugs/${name})
    set(before)
    if(EXISTS ${out})
        file(READ ${out} before)
    endif()
    if(NOT "${text}" STREQUAL "${before}")
        file(WRITE ${out} "${text}")
    endif()
    list(APPEND sim_bugs_sources ${out})
endforeach()
