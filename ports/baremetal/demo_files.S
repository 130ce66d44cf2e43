/* The files of the demo, as bytes in read-only memory: the model pair, the picture and the
 * question. demo.mk says which. */

.macro file name, path
    .global \name, \name\()_end
    .balign 64
\name:
    .incbin "\path"
\name\()_end:
.endm

    .section .rodata.demo_files, "a"
    file demo_llm, LLM_FILE
    file demo_mmproj, MMPROJ_FILE
    file demo_image, IMAGE_FILE
    file demo_question, QUESTION_FILE

    .section .note.GNU-stack, "", %progbits
