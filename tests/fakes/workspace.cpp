// The pool of scratch memory on a table of functions of our own: what it asks of a GPU, in order.
#include "mioconv/workspace.hpp"

#include <cstring>
#include <set>
#include <vector>

#include "check.hpp"

namespace {

using mioconv::WorkspacePool;
using Block = WorkspacePool::Block;

std::map<hipStream_t, std::uint64_t> ids;  // of the streams that exist
std::set<void*> live;
std::vector<void*> freed_in_order;
std::vector<hipStream_t> freed_on, recorded_on, waited_by;
std::uintptr_t next = 0x1000;
int allocations = 0, frees = 0, waits = 0, refusals = 0;
bool is_capturing = false;

hipStream_t stream(std::uintptr_t n) { return reinterpret_cast<hipStream_t>(n); }

hipError_t allocate_async(void** data, std::size_t, hipStream_t) {
    if (refusals > 0) return --refusals, hipErrorOutOfMemory;
    ++allocations;
    live.insert(*data = reinterpret_cast<void*>(next += 0x1000));
    return hipSuccess;
}
hipError_t free_async(void* data, hipStream_t on) {
    check(live.erase(data) == 1, "freed once", __LINE__);
    freed_in_order.push_back(data);
    freed_on.push_back(on);
    return hipSuccess;
}
hipError_t free_now(void* data) {
    check(live.erase(data) == 1, "freed once", __LINE__);
    check(waits > 0, "freed after the device was waited for", __LINE__);
    ++frees;
    return hipSuccess;
}
miopenStatus_t stream_id(hipStream_t of, std::uint64_t* id) {
    const auto found = ids.find(of);
    if (found == ids.end()) return miopenStatusBadParm;
    *id = found->second;
    return miopenStatusSuccess;
}

mioconv::Api table() {
    mioconv::Api api;
    api.provider = mioconv::Provider::cuda;
    api.hipMallocAsync = allocate_async;
    api.hipFreeAsync = free_async;
    api.hipFree = free_now;
    api.hipGetLastError = [] { return hipSuccess; };
    api.hipGetDevice = [](int* device) { return *device = 0, hipSuccess; };
    api.hipSetDevice = [](int) { return hipSuccess; };
    api.hipDeviceSynchronize = [] { return ++waits, hipSuccess; };
    api.hipStreamIsCapturing = [](hipStream_t, hipStreamCaptureStatus* status) {
        *status = is_capturing ? hipStreamCaptureStatusActive : hipStreamCaptureStatusNone;
        return hipSuccess;
    };
    api.mioconvGetStreamId = stream_id;
    api.hipEventCreateWithFlags = [](hipEvent_t* event, unsigned) {
        if (refusals > 0) return --refusals, hipErrorOutOfMemory;
        return *event = reinterpret_cast<hipEvent_t>(next += 8), hipSuccess;
    };
    api.hipEventDestroy = [](hipEvent_t) { return hipSuccess; };
    api.hipEventRecord = [](hipEvent_t, hipStream_t on) {
        return recorded_on.push_back(on), hipSuccess;
    };
    api.hipStreamWaitEvent = [](hipStream_t waiting, hipEvent_t, unsigned) {
        return waited_by.push_back(waiting), hipSuccess;
    };
    return api;
}

mioconv::Api api = table();
WorkspacePool pool(api, 0, true);

Block lease(std::size_t bytes, hipStream_t on) {
    Block block;
    CHECK(pool.lease(bytes, on, &block).ok());
    CHECK(live.count(block.data) == 1);
    return block;
}
void* use(std::size_t bytes, hipStream_t on) {
    const Block block = lease(bytes, on);
    pool.give_back(block);
    return block.data;
}

void reuse() {
    void* first = use(100, stream(1));
    CHECK(use(4096, stream(1)) == first);
    CHECK(use(100, stream(2)) != first);
    ids[stream(1)] = 30;  // the handle has gone to a new stream
    CHECK(use(100, stream(1)) != first);
    CHECK(allocations == 3 && freed_in_order.empty() && waits == 0);
}
void two_leases() {
    const Block a = lease(100, stream(1)), b = lease(100, stream(1));
    CHECK(a.data != b.data);
    CHECK(pool.stats().current == 2 * 4096);
    pool.give_back(a);
    pool.give_back(b);
    CHECK(pool.stats().current == 0 && pool.stats().reserved == 2 * 4096);
}
void outgrown() {
    void* small = use(100, stream(1));
    CHECK(use(10'000, stream(1)) != small);
    CHECK(freed_in_order == std::vector<void*>{small} && freed_on[0] == stream(1));
    CHECK(live.size() == 1 && waits == 0 && pool.stats().reserved == 12'288);
}
void moved() {  // given back where it was used last
    Block block = lease(100, stream(1));
    block.stream = stream(2);
    pool.give_back(block);
    CHECK(use(100, stream(1)) != block.data);
    CHECK(use(100, stream(2)) == block.data);
}
void capture() {
    void* kept = use(100, stream(1));
    is_capturing = true;
    CHECK(use(100, stream(1)) != kept);  // memory of the graph's, and the graph frees it
    CHECK(freed_in_order.size() == 1);
    refusals = 1;
    Block block;
    CHECK(pool.lease(100, stream(1), &block).out_of_memory());
    CHECK(live.count(kept) == 1 && waits == 0 && frees == 0);
}
void out_of_memory() {
    use(100, stream(1));
    const Block held = lease(100, stream(2));
    refusals = 1;
    const Block block = lease(100, stream(3));
    CHECK(waits == 1 && frees == 1 && live.count(held.data) == 1);
    refusals = 2;
    Block none;
    CHECK(pool.lease(100, stream(2), &none).out_of_memory());
    pool.give_back(held);
    pool.give_back(block);
    CHECK(pool.stats().current == 0);
    pool.release_unused();
    CHECK(live.empty() && pool.stats().reserved == 0);
}
void no_id() {
    use(100, stream(99));  // the call fails
    CHECK(live.empty() && freed_in_order.size() == 1);
    api.mioconvGetStreamId = nullptr;
    use(100, stream(1));
    CHECK(live.empty() && freed_in_order.size() == 2 && pool.stats().reserved == 0);
}
void most() {
    for (std::uintptr_t i = 1000; i < 1400; ++i) {
        ids[stream(i)] = i;
        use(100, stream(i));
        CHECK(live.size() <= 128);
    }
    CHECK(live.size() > 1 && waits > 0);
}
void allocator() {
    static int given = 0, taken = 0;
    static char memory[100];
    static const mioconv::Allocator own{
        [](const mioconv::Api&, int, std::size_t, hipStream_t, void** data) {
            return ++given, *data = memory, mioconv::Status{};
        },
        [](void* data) { taken += data == memory; }};
    pool.set_allocator(&own);
    Block block;
    CHECK(pool.lease(100, stream(1), &block).ok() && block.data == memory);
    pool.set_allocator(nullptr);  // a leased block goes back to where it came from
    pool.give_back(block);
    CHECK(given == 1 && taken == 1 && allocations == 0 && pool.stats().reserved == 0);
}
void last_use() {
    mioconv::LastUse last;
    CHECK(last.wait(api, stream(1)).ok() && waits == 0);  // of nothing
    CHECK(last.note(api, stream(1), false).ok());
    CHECK(last.wait(api, stream(1)).ok() && waits == 0);  // it follows anyway
    CHECK(last.wait(api, stream(2)).ok() && waits == 1);
    ids[stream(1)] = 30;  // the handle has gone to a new stream
    CHECK(last.wait(api, stream(1)).ok() && waits == 2);
    CHECK(recorded_on.empty() && waited_by.empty());
}
void last_use_by_event() {
    mioconv::LastUse last;
    CHECK(last.note(api, stream(1), true).ok() && last.recorded());
    CHECK(last.wait(api, stream(1)).ok() && waited_by.empty());
    ids[stream(1)] = 30;
    CHECK(last.wait(api, stream(1)).ok() && waits == 0);
    CHECK(recorded_on == std::vector<hipStream_t>{stream(1)} && waited_by == recorded_on);
    is_capturing = true;  // the work is the graph's
    CHECK(last.note(api, stream(2), true).ok() && !last.recorded());
    is_capturing = false;
    refusals = 1;
    mioconv::LastUse other;
    CHECK(other.note(api, stream(1), true).out_of_memory() && !other.recorded());
    CHECK(other.wait(api, stream(2)).ok() && waits == 1);
}
void last_use_without_numbers() {
    api.mioconvGetStreamId = nullptr;
    mioconv::LastUse last;
    CHECK(last.note(api, nullptr, false).ok());  // this one is there for good
    CHECK(last.wait(api, nullptr).ok() && recorded_on.empty() && waited_by.empty() && waits == 0);
    CHECK(last.note(api, stream(1), false).ok());
    CHECK(last.wait(api, stream(1)).ok());
    CHECK(waited_by == std::vector<hipStream_t>{stream(1)} && waits == 0);
}

}  // namespace

int main(int, char** arguments) {
    ids = {{stream(1), 11}, {stream(2), 12}, {stream(3), 13}};
    return run_case(
        {{"reuse", reuse},
         {"two_leases", two_leases},
         {"outgrown", outgrown},
         {"moved", moved},
         {"capture", capture},
         {"out_of_memory", out_of_memory},
         {"no_id", no_id},
         {"most", most},
         {"allocator", allocator},
         {"last_use", last_use},
         {"last_use_by_event", last_use_by_event},
         {"last_use_without_numbers", last_use_without_numbers}},
        arguments[1]);
}
