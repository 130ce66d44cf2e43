/* The whole library in one source: compile this file, or include it in a program of your
 * own. Internals are static, every name begins bluelm_ or blm_. Defines it heeds:
 *   BLUELM_NO_IMAGE_DECODE  leave PNG and JPEG decoding (stb_image) out */
#define BLM_UNITY 1

#include "base/error.c"
#include "base/name.c"
#include "arena/arena.c"

#include "kernels/amx.c"
#include "kernels/avx2.c"
#include "kernels/avx2_attend.c"
#include "kernels/avx2_matmul.c"
#include "kernels/avx512.c"
#include "kernels/avx512_attend.c"
#include "kernels/avx512_attend_many.c"
#include "kernels/avx512_panel.c"
#include "kernels/avx512_token.c"
#include "kernels/cpu.c"
#include "kernels/kernels.c"
#include "kernels/neon.c"
#include "kernels/neon_attend.c"
#include "kernels/neon_matmul.c"
#include "kernels/scalar.c"
#include "kernels/sse41.c"

#include "gguf/gguf.c"

#include "tiler/grid.c"
#include "tiler/image.c"
#include "tiler/resize.c"

#include "text/chat.c"
#include "text/merge.c"
#include "text/pieces.c"
#include "text/presplit.c"
#include "text/sampler.c"
#include "text/tokenizer.c"
#include "text/unicode.c"
#include "text/utf8.c"

#include "network/workers.c"
#include "network/linear.c"
#include "network/kvcache.c"
#include "network/language.c"
#include "network/projector.c"
#include "network/vision.c"

#include "families/tensors.c"
#include "families/language.c"
#include "families/projector.c"
#include "families/vision.c"
#include "families/tiling.c"
#include "families/markup.c"
#include "families/templates.c"

#include "engine/config.c"
#include "engine/input.c"
#include "engine/layout.c"
#include "engine/conversation.c"
#include "engine/pictures.c"
#include "engine/encode.c"
#include "engine/steps.c"
#include "engine/describe.c"
