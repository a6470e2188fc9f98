"""A question about an image."""

from pathlib import Path

from cf_gemma import Gemma, image_part

chart = (Path(__file__).parent / "data" / "visitors.png").read_bytes()
question = "This chart shows how many people visited the library each day. Which day was the busiest, and by how much?"

# PNG, JPEG, WebP or GIF. Images of more than 1,024 pixels a side are scaled down, which needs Pillow.
content = [{"type": "text", "text": question}, image_part(chart)]
with Gemma(temperature=0) as gemma:
    print(gemma.chat([{"role": "user", "content": content}]).text)
