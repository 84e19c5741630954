/* rope.h - rotary position embedding, in place; or of q or k with the norms of their heads.
 *
 *   With a = pos * freq[i], i < R/2:
 *             (x_i, x_j) <- (x_i cos a - x_j sin a,  x_i sin a + x_j cos a)
 *   where j = i + R/2, or for interleaved (GGUF's llama) the pair is (x_2i, x_2i+1). R <= D: the rest of a head stays.
 *   backward  the rotation by -a, in place on dx: same arguments
 *   shapes    x dx [N, H*D]    pos [N]    table [max_pos, R]: cos then sin of each position
 * The table is made once by gr_rope_table(), in double before it is rounded. */
#ifndef GR_OP_ROPE_H
#define GR_OP_ROPE_H

#include "op/rmsnorm.h"

typedef void gr_rope_fwd_fn(gr_lane *lane, gr_mat x, const int32_t *pos, const float *table,
                            size_t N, size_t H, size_t D, size_t R, bool interleaved);
gr_rope_fwd_fn gr_rope_fwd_ref, gr_rope_fwd_avx2, gr_rope_fwd_avx512;
gr_rope_fwd_fn gr_rope_bwd_ref, gr_rope_bwd_avx2, gr_rope_bwd_avx512;

/* What q or k of a layer pass through: y = the norm of x by parts of norm.C numbers, D or H*D (norm.w NULL: none, and y
 * is x), then rope by the angles of pos (table NULL: none). r: of the norms, or NULL. Rows are H*D apart. */
typedef struct {
    gr_norm norm;
    float *r;
    const float *table;
    const int32_t *pos;
    size_t H, D, R;
    bool interleaved;
} gr_heads;
typedef void gr_heads_fn(gr_lane *lane, gr_mat y, gr_mat x, const gr_heads *h, size_t N);
gr_heads_fn gr_heads_fwd_cpu;

/* table[max_pos * R] from inverse frequencies freq[R/2] (already scaled as config.json asks). The angle is
 * the float32 product float(pos) * float(freq), as PyTorch computes it; its cos and sin are taken in double.
 * `scale` multiplies both (attention_factor of YaRN and the like; 1 otherwise). */
void gr_rope_table(float *table, const float *freq, size_t first_pos, size_t max_pos, size_t R, float scale);

#endif
