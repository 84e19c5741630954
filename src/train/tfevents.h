/* tfevents.h - numbers over steps as TensorBoard's event files hold them: TFRecords of a small protobuf message.
 *
 *     | u64 length | masked CRC32C of it | Event, length bytes | masked CRC32C of them |       little-endian
 *
 *     Event    1: double wall_time (seconds)   2: int64 step   3: string file_version   5: Summary
 *     Summary  1: Value, each                  Value  1: string tag   2: float simple_value
 *
 * The mask is TensorFlow's: rotated right by 15, plus 0xa282ead8. */
#ifndef GR_TRAIN_TFEVENTS_H
#define GR_TRAIN_TFEVENTS_H

#include "base/mem.h"

typedef struct { const char *tag; double value; } gr_scalar;

/* The record that every file begins with. False: out of memory. */
bool gr_tfevents_begin(gr_buf *out, double time);
/* The n numbers of a step; those that are NAN are left out. */
bool gr_tfevents_add(gr_buf *out, double time, uint64_t step, const gr_scalar *s, size_t n);

#endif
