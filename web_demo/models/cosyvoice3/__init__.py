"""Fun-CosyVoice3 written anew: speech tokens to sound, and text to speech tokens."""
