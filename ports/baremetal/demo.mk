# What every board's Makefile shares: the files of the demo, and the objects that do not
# depend on the board. The board sets CROSS, BOARD_FLAGS and BUILD before it includes this.

ROOT := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))../..)
PORT := $(ROOT)/ports/baremetal

# The question: LINE of demo/questions.txt, or IMAGE and QUESTION from the command line.
LINE     ?= 1
FIELD     = $(shell sed -n '$(LINE)p' $(ROOT)/demo/questions.txt | cut -f$(1))
MODEL    ?= $(ROOT)/demo/bluelm-demo.gguf
MMPROJ   ?= $(ROOT)/demo/bluelm-demo-mmproj.gguf
IMAGE    ?= $(ROOT)/demo/$(call FIELD,1)
QUESTION ?= $(call FIELD,2)
export QUESTION

# CPU=scalar leaves out the processor's own kernels.
CPU      ?= auto
CPU_MASK  = $(if $(filter scalar,$(CPU)),BLUELM_CPU_NONE,0)

WARN   := -Wall -Wextra -pedantic -Wconversion -Wshadow -Wvla -Wdouble-promotion \
          -Wstrict-prototypes -Wmissing-prototypes
COMPILE = $(CROSS)gcc -std=c99 -O2 -g -ffreestanding -ffp-contract=off $(WARN) $(BOARD_FLAGS) -MMD -MP
SHARED := bluelm.o console.o demo.o demo_files.o

.PHONY: FORCE
FORCE:

$(BUILD):
	mkdir -p $@

$(BUILD)/bluelm.o: $(ROOT)/bluelm.c | $(BUILD)
	$(COMPILE) -c $< -o $@

$(BUILD)/mem.o: BOARD_FLAGS += -O3 -fno-tree-loop-distribute-patterns

$(BUILD)/%.o: $(PORT)/%.c | $(BUILD)
	$(COMPILE) -c $< -o $@

# Built every time: files and question may be others than last time.
$(BUILD)/demo.o: $(PORT)/demo.c FORCE | $(BUILD)
	$(COMPILE) -DDEMO_CPU_MASK=$(CPU_MASK) -c $< -o $@

$(BUILD)/demo_files.o: $(PORT)/demo_files.S FORCE | $(BUILD)
	@printf '%s' "$$QUESTION" > $(BUILD)/question.txt
	$(CROSS)gcc -DLLM_FILE='"$(abspath $(MODEL))"' -DMMPROJ_FILE='"$(abspath $(MMPROJ))"' \
	    -DIMAGE_FILE='"$(abspath $(IMAGE))"' -DQUESTION_FILE='"$(abspath $(BUILD))/question.txt"' \
	    -c $< -o $@

-include $(wildcard $(BUILD)/*.d)
