/* options_int.h - the rows of the table (option_rows.c) as options.c reads them, and the words they are written in. */
#ifndef GR_TRAIN_OPTIONS_INT_H
#define GR_TRAIN_OPTIONS_INT_H

#include <stddef.h>
#include "train/options.h"

#define AT(field)  offsetof(gram_train_options, field)
#define STAGE1     (1u << GRAM_STAGE_PRETRAIN)
#define STAGE2     (1u << GRAM_STAGE_FINETUNE)
#define STAGE3     (1u << GRAM_STAGE_ALIGN)
#define LABELLED   (STAGE1 | STAGE2)
#define ALL        (STAGE1 | STAGE2 | STAGE3)
#define THE(name)  (1u << GRAM_ALGORITHM_##name)
#define RAFTS      (THE(RAFT) | THE(RAFT_PP))
#define GRADIENTS  (THE(RAFT_PP) | THE(REINFORCE_REJ) | THE(RLOO) | THE(GRPO) | THE(DR_GRPO) | THE(REINFORCE) | \
                    THE(REMAX) | THE(PPO))
#define ONE(loss)  (1u << GRAM_LOSS_##loss)
#define WRITERS    (ONE(RATIONALE) | ONE(PROOF))
#define JUDGES     (ONE(GRAM) | ONE(GENERATIVE))
#define SCALARS    (~JUDGES & (2u * ONE(PURM) - 1))
#define POLICIES   (ONE(DPO) | ONE(CDPO) | ONE(IPO) | ONE(SIMPO) | ONE(ORPO) | ONE(KTO))
#define REFERRED   (ONE(DPO) | ONE(CDPO) | ONE(IPO) | ONE(KTO))
#define MANY       ((double)(1 << 20))
#define STEPS      ((double)((uint64_t)1 << 40))
#define ANY        1e30                     /* of numbers that have no natural end */

extern const gram_option gr_option_row[];
extern const size_t gr_option_rows;

#endif
