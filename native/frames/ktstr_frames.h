// SPDX-License-Identifier: MIT
//
// The frames that guest and host exchange on the bulk port: encoder and incremental assembler.
//
// A frame is a 16-byte little-endian header and a payload:
//
//	u32 msg_type	four ASCII letters read as a big-endian number (EXIT goes over the wire as "TIXE")
//	u32 length	payload bytes only
//	u32 crc32	IEEE, over the payload only; 0 for an empty payload
//	u32 pad		0; another value is a warning, unless the type is unknown as well
//
// The same source is linked into the guest's agent and into the host's Python module. C11 and libc only.
#ifndef KTSTR_FRAMES_H
#define KTSTR_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// cffi: begin
#define KTF_HEADER_SIZE 16
#define KTF_MAX_PAYLOAD 262144u
#define KTF_CAP_LIMIT (1u << 30) // of the cap that an assembler is made with

enum ktf_direction {
	KTF_GUEST_TO_HOST,
	KTF_HOST_TO_GUEST,
};
// cffi: end

// The one list of known types: X(C name, name, value, direction).
#define KTF_MSG_TYPES(X)                                                        \
	X(STIMULUS, Stimulus, 0x5354494Du, KTF_GUEST_TO_HOST)                   \
	X(STEP_END, StepEnd, 0x5354454Eu, KTF_GUEST_TO_HOST)                    \
	X(SCENARIO_START, ScenarioStart, 0x53435354u, KTF_GUEST_TO_HOST)        \
	X(SCENARIO_PAUSE, ScenarioPause, 0x53435050u, KTF_GUEST_TO_HOST)        \
	X(SCENARIO_RESUME, ScenarioResume, 0x53435252u, KTF_GUEST_TO_HOST)      \
	X(SCENARIO_END, ScenarioEnd, 0x5343454Eu, KTF_GUEST_TO_HOST)            \
	X(EXIT, Exit, 0x45584954u, KTF_GUEST_TO_HOST)                           \
	X(TEST_RESULT, TestResult, 0x54455354u, KTF_GUEST_TO_HOST)              \
	X(SCHED_EXIT, SchedExit, 0x53434458u, KTF_GUEST_TO_HOST)                \
	X(CRASH, Crash, 0x43525348u, KTF_GUEST_TO_HOST)                         \
	X(PAYLOAD_METRICS, PayloadMetrics, 0x504D4554u, KTF_GUEST_TO_HOST)      \
	X(RAW_PAYLOAD_OUTPUT, RawPayloadOutput, 0x5241574Fu, KTF_GUEST_TO_HOST) \
	X(PROFRAW, Profraw, 0x50524157u, KTF_GUEST_TO_HOST)                     \
	X(WPROF_TRACE, WprofTrace, 0x57505246u, KTF_GUEST_TO_HOST)              \
	X(STDOUT, Stdout, 0x534F5554u, KTF_GUEST_TO_HOST)                       \
	X(STDERR, Stderr, 0x53455252u, KTF_GUEST_TO_HOST)                       \
	X(SCHED_LOG, SchedLog, 0x53434C47u, KTF_GUEST_TO_HOST)                  \
	X(LIFECYCLE, Lifecycle, 0x4C494645u, KTF_GUEST_TO_HOST)                 \
	X(EXEC_EXIT, ExecExit, 0x45584358u, KTF_GUEST_TO_HOST)                  \
	X(DMESG, Dmesg, 0x444D5347u, KTF_GUEST_TO_HOST)                         \
	X(PROBE_OUTPUT, ProbeOutput, 0x50524F42u, KTF_GUEST_TO_HOST)            \
	X(SYS_RDY, SysRdy, 0x53524459u, KTF_GUEST_TO_HOST)                      \
	X(KERN_ADDRS, KernAddrs, 0x4B414452u, KTF_GUEST_TO_HOST)                \
	X(SNAPSHOT_REQUEST, SnapshotRequest, 0x534E5251u, KTF_GUEST_TO_HOST)    \
	X(SNAPSHOT_REPLY, SnapshotReply, 0x534E5250u, KTF_HOST_TO_GUEST)        \
	X(KERNEL_OP_REQUEST, KernelOpRequest, 0x4B4F5251u, KTF_GUEST_TO_HOST)   \
	X(KERNEL_OP_REPLY, KernelOpReply, 0x4B4F5250u, KTF_HOST_TO_GUEST)       \
	X(ACCESSOR_READY, AccessorReady, 0x41435244u, KTF_HOST_TO_GUEST)        \
	X(SHUTDOWN, Shutdown, 0x5348444Eu, KTF_HOST_TO_GUEST)                   \
	X(WORKER_REPORT, WorkerReport, 0x57524B52u, KTF_GUEST_TO_HOST)          \
	X(BEATS, Beats, 0x42454154u, KTF_GUEST_TO_HOST)                         \
	X(SCHED_UPLOAD, SchedUpload, 0x5355504Cu, KTF_HOST_TO_GUEST)            \
	X(SCHED_CHUNK, SchedChunk, 0x5343484Bu, KTF_HOST_TO_GUEST)              \
	X(SCHED_COMMAND, SchedCommand, 0x53434D44u, KTF_HOST_TO_GUEST)          \
	X(SCHED_REPLY, SchedReply, 0x5352504Cu, KTF_GUEST_TO_HOST)              \
	X(STIMULUS_APPLIED, StimulusApplied, 0x53544150u, KTF_GUEST_TO_HOST)

enum ktf_msg {
#define KTF_ENUM(c_name, name, value, direction) KTF_##c_name = value,
	KTF_MSG_TYPES(KTF_ENUM)
#undef KTF_ENUM
};

// cffi: begin
// The same list as data, for those who compare it with their own.
struct ktf_msg_type {
	const char *name;
	uint32_t value;
	uint32_t direction;
};

extern const struct ktf_msg_type ktf_msg_types[];
extern const size_t ktf_msg_type_count;

bool ktf_is_known(uint32_t msg_type);

// CRC-32 IEEE of `length` bytes; `crc` is 0, or the result over the bytes before these (as in zlib).
uint32_t ktf_crc32(uint32_t crc, const void *data, size_t length);
// The same by tables alone, whatever the CPU offers.
uint32_t ktf_crc32_tables(uint32_t crc, const void *data, size_t length);

// Write the header of a frame with this payload (for a writev of header and payload).
void ktf_encode_header(uint8_t header[KTF_HEADER_SIZE], uint32_t msg_type, const void *payload,
		       uint32_t length);
// Write a whole frame into `out`. Returns its size, or 0 when `size` is too small for it.
size_t ktf_encode(uint8_t *out, size_t size, uint32_t msg_type, const void *payload, uint32_t length);

enum ktf_frame_flags {
	KTF_CRC_OK = 1,
	KTF_IN_TAIL = 2, // the payload is in the assembler, not in the bytes just fed
	KTF_CUT = 4, // the length field was wrong: the frame ends where the next one begins
	KTF_PAD_NONZERO = 8,
};

// One assembled frame. `offset` counts from the `data` of the call, or with KTF_IN_TAIL from
// ktf_assembler_tail(); it is valid until the next call on the assembler.
struct ktf_frame {
	uint64_t offset;
	uint32_t msg_type;
	uint32_t length;
	uint32_t flags;
	uint32_t reserved;
};

// Why bytes were skipped.
enum ktf_skip_reason {
	KTF_SKIP_OVERSIZED, // a header announced more than the cap
	KTF_SKIP_BAD_HEADER, // unknown type, and a non-zero pad or another header inside
	KTF_SKIP_TORN, // what followed a frame that the next one had cut short
	KTF_SKIP_REASONS,
};

// At any time: bytes == 16 * frames + payload_bytes + skipped (all reasons) + taken_bytes + residual.
struct ktf_statistics {
	uint64_t bytes; // fed
	uint64_t frames;
	uint64_t payload_bytes; // in those frames
	uint64_t crc_bad; // frames, cut ones included
	uint64_t cut; // frames
	uint64_t pad_nonzero; // frames
	uint64_t oversized; // headers
	uint64_t resyncs; // times that the place in the stream had to be found again
	uint64_t skipped[KTF_SKIP_REASONS];
	uint64_t taken_bytes; // handed out by ktf_assembler_take
	uint64_t residual; // kept for the next feed
};

struct ktf_assembler;

// Returns NULL without memory or when the cap is 0 or above 1 GiB.
struct ktf_assembler *ktf_assembler_create(uint32_t max_payload);
void ktf_assembler_destroy(struct ktf_assembler *a);

// Feed bytes and get up to `room` frames. `*used` is how many bytes were taken over; when `*more` is set,
// call again with the rest (which can be empty) after the frames were copied.
// Returns the number of frames, or -1 without memory (then nothing is lost: the call can be repeated).
int ktf_assembler_feed(struct ktf_assembler *a, const uint8_t *data, size_t length, size_t *used,
		       struct ktf_frame *frames, int room, bool *more);

const uint8_t *ktf_assembler_tail(const struct ktf_assembler *a);
// Copy the residual into `out` (of at least `residual` bytes). Returns its size.
size_t ktf_assembler_residual(const struct ktf_assembler *a, uint8_t *out);
// Forget the residual after it was copied out: its bytes become `taken_bytes`.
void ktf_assembler_take(struct ktf_assembler *a);
void ktf_assembler_statistics(const struct ktf_assembler *a, struct ktf_statistics *ret);
// cffi: end

#endif
