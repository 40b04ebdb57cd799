// What Python sees of the C code: declarations in cffi's dialect, equal to those of the headers.

// frames/ktstr_frames.h
struct ktf_msg_type {
	const char *name;
	uint32_t value;
	uint32_t direction;
};
extern const struct ktf_msg_type ktf_msg_types[];
extern const size_t ktf_msg_type_count;

uint32_t ktf_crc32(uint32_t crc, const void *data, size_t length);
uint32_t ktf_crc32_tables(uint32_t crc, const void *data, size_t length);
size_t ktf_encode(uint8_t *out, size_t size, uint32_t msg_type, const void *payload, uint32_t length);

struct ktf_frame {
	uint64_t offset;
	uint32_t msg_type;
	uint32_t length;
	uint32_t flags;
	uint32_t reserved;
};

struct ktf_statistics {
	uint64_t bytes;
	uint64_t frames;
	uint64_t payload_bytes;
	uint64_t crc_bad;
	uint64_t cut;
	uint64_t pad_nonzero;
	uint64_t oversized;
	uint64_t resyncs;
	uint64_t skipped[3];
	uint64_t taken_bytes;
	uint64_t residual;
};

struct ktf_assembler;
struct ktf_assembler *ktf_assembler_create(uint32_t max_payload);
void ktf_assembler_destroy(struct ktf_assembler *a);
int ktf_assembler_feed(struct ktf_assembler *a, const uint8_t *data, size_t length, size_t *used,
		       struct ktf_frame *frames, int room, bool *more);
const uint8_t *ktf_assembler_tail(const struct ktf_assembler *a);
size_t ktf_assembler_residual(const struct ktf_assembler *a, uint8_t *out);
void ktf_assembler_take(struct ktf_assembler *a);
void ktf_assembler_statistics(const struct ktf_assembler *a, struct ktf_statistics *ret);
