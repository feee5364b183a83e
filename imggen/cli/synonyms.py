"""What other programs and plain English call imggen's commands and options."""

from typing import Final

COMMANDS: Final[dict[str, str]] = {
    word: command
    for command, words in {
        "generate": "create gen draw make new image imagine paint dream txt2img text2img text-to-image t2i prompt",
        "img2img": "edit change modify i2i image2image image-to-image img2image variation variations vary redraw remix",
        "inpaint": "fill erase mask retouch repaint repair",
        "outpaint": "extend expand uncrop widen pad",
        "blend": "mix merge breed combine morph interpolate",
        "style": "restyle transfer style-transfer stylize stylise",
        "upscale": "resize enlarge scale upsample super-resolution superres hires upscaler up",
        "preprocess": "control controlnet canny depth edges",
        "inspect": "info show metadata exif read recipe",
        "verify": "check validate authenticate",
        "embed-metadata": "embed tag strip annotate",
        "keys init": "sign key",
        "models list": "list ls model",
        "models pull": "download fetch pull install get",
        "models rm": "rm remove delete uninstall",
        "models convert": "convert quantize",
        "models alias": "alias",
        "presets list": "preset config settings",
        "audit check": "log",
        "train": "finetune fine-tune training learn",
        "doctor": "status diagnose env system setup gpu device",
        "--version": "version",
        "--install-completion": "completion completions",
    }.items()
    for word in words.split()
}
"""The command of imggen for each word."""

OPTIONS: Final[dict[str, tuple[str, ...]]] = {
    word: tuple(options.split())
    for options, words in {
        "--num-images": "--count --num --number --images --n --batch --batch-size --n-iter --repeats --samples -b",
        "--preview": "--open --show --view --display",
        "--output": "--out --outfile --outdir --output-dir --output-path --save --filename --file --dest --name",
        "--guidance": "--cfg --scale --prompt-strength --guidance-strength",
        "--negative-prompt": "--negative --neg --no --avoid --without",
        "--sampler": "--scheduler --sampling-method --solver --sampler-name",
        "--size": "--dimensions --dim --res --image-size",
        "--size --to": "--resolution",
        "--scale --strength": "--factor --amount --upscale",
        "--aspect": "--ratio --ar --aspect-ratio --shape",
        "--model": "--checkpoint --ckpt --model-path --model-id --weights --engine",
        "--strength": "--denoise --denoising-strength --denoising --image-strength --noise",
        "--steps": "--step --iterations --iters --num-steps",
        "--seed": "--seeds --random-seed",
        "--device": "--gpu --cuda --mps --cpu --backend",
        "--dtype": "--fp16 --half --precision --bf16 --float16 --fp32",
        "--offload": "--lowvram --low-vram --medvram --cpu-offload",
        "--lora": "--loras --lora-path --network",
        "--embedding": "--embeddings --ti",
        "--control": "--controlnet --control-image",
        "--if-exists": "--overwrite --force --replace -f -y",
        "--dry-run": "--dryrun --plan --explain",
        "--quiet": "--silent",
        "--verbose": "--debug --log-level",
        "--preset": "--config --profile --settings",
        "--metadata": "--no-metadata --disable-image-metadata --exif",
        "--watermark": "--no-watermark",
        "--tile": "--tiling --repeat",
        "--mask": "--mask-image --mask-path --masked-image-path",
        "--mask-box": "--box --bbox --region --rect",
        "--pad": "--padding --extend --expand --border",
        "--like": "--style --style-image --reference --ref-image --ref",
        "--ip-adapter": "--image-prompt",
        "--format": "--ext --extension --type",
        "--quality": "--jpeg-quality --compression",
        "--to": "--target --size --width --height",
        "--require": "--expect --must",
    }.items()
    for word in words.split()
}
"""The options of imggen for each word, of which the command's own is meant."""
