/* warp.cc - what the lanes of a warp do together: shuffles, products of tiles, loads of tiles. */
#include "emu/emu_int.h"

void emu_shfl_xor(void *const *slot)
{
    for (int i = 0; i < EMU_LANES; i++) {
        emu_shfl *s = (emu_shfl *)slot[i];
        s->out = ((emu_shfl *)slot[(i ^ s->arg) & 31])->in;
    }
}

void emu_shfl_idx(void *const *slot)
{
    for (int i = 0; i < EMU_LANES; i++) {
        emu_shfl *s = (emu_shfl *)slot[i];
        s->out = ((emu_shfl *)slot[s->arg & 31])->in;
    }
}

/* d [16,8] += a [16,16] b [16,8], in the registers that PTX's "mma.m16n8k16" names. */
void emu_mma(void *const *slot)
{
    float A[16][16], B[16][8], C[16][8] = {};

    emu_count.mma++;
    for (int l = 0; l < EMU_LANES; l++) {
        const emu_mma_slot *s = (const emu_mma_slot *)slot[l];
        int g = l / 4, t = l % 4;
        for (int i = 0; i < 4; i++)
            for (int h = 0; h < 2; h++)
                A[g + 8 * (i & 1)][2 * t + h + 8 * (i >> 1)] = emu_bf((uint16_t)(s->a[i] >> 16 * h));
        for (int i = 0; i < 2; i++)
            for (int h = 0; h < 2; h++)
                B[2 * t + h + 8 * i][g] = emu_bf((uint16_t)(s->b[i] >> 16 * h));
    }
    for (int m = 0; m < 16; m++)
        for (int k = 0; k < 16; k++)
            for (int n = 0; n < 8; n++)
                C[m][n] += A[m][k] * B[k][n];
    for (int l = 0; l < EMU_LANES; l++) {
        float *d = ((const emu_mma_slot *)slot[l])->d;
        for (int i = 0; i < 4; i++)
            d[i] += C[l / 4 + 8 * (i >> 1)][2 * (l % 4) + (i & 1)];
    }
}

/* The 8 rows of a matrix are read at once: 8 x 16 bytes of the 128 that the banks give. */
static void count_conflicts(void *const *slot)
{
    emu_count.ldmatrix++;
    for (int m = 0; m < 4; m++) {
        unsigned banks = 0;
        for (int i = 0; i < 8; i++)
            banks |= 1u << (((emu_ldm_slot *)slot[8 * m + i])->at / 16 % 8);
        emu_count.conflicts += 8 - (unsigned)__builtin_popcount(banks);
    }
}

void emu_ldm(void *const *slot)
{
    count_conflicts(slot);
    for (int l = 0; l < EMU_LANES; l++)
        for (int m = 0; m < 4; m++)
            memcpy(&((emu_ldm_slot *)slot[l])->r[m], &((emu_ldm_slot *)slot[8 * m + l / 4])->row[2 * (l % 4)], 4);
}

void emu_ldm_t(void *const *slot)
{
    count_conflicts(slot);
    for (int l = 0; l < EMU_LANES; l++)
        for (int m = 0; m < 4; m++) {
            uint16_t lo = ((emu_ldm_slot *)slot[8 * m + 2 * (l % 4)])->row[l / 4];
            uint16_t hi = ((emu_ldm_slot *)slot[8 * m + 2 * (l % 4) + 1])->row[l / 4];
            ((emu_ldm_slot *)slot[l])->r[m] = lo | (uint32_t)hi << 16;
        }
}
